"""`proxygold eval alignment-tax`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from proxygold.cli.evals.judging import JudgeSettingsArgument
from proxygold.cli.evals.options import (
    AdapterOption,
    BaselineOption,
    BaseUrlOption,
    BatchSizeOption,
    CacheOption,
    ConcurrencyOption,
    DryRunOption,
    DtypeOption,
    EngineOption,
    ForceOption,
    JudgeOption,
    LimitOption,
    MaxCostOption,
    ModelOption,
    OutOption,
    PriceInOption,
    PriceOutOption,
    RetriesOption,
    SeedOption,
    SystemOption,
    TemplateOption,
    TimeoutOption,
)

__all__ = ["EXAMPLES", "alignment_tax"]

EXAMPLES = (
    "proxygold eval alignment-tax --model SFT=sft/model --model RER=runs/alpacafarm/RER/seed-0/checkpoints/step-5000 "
    "--template alpaca --super-ni natural-instructions --judge gpt-4.1 --price-in 2 --price-out 8 --max-cost 20\n\n"
    "proxygold eval alignment-tax --alpaca-eval-results evals/alpaca-eval --super-ni-results evals/super-ni "
    "--responses-results evals/responses --baseline SFT"
)

_RESULTS, _PARTS = "Results that exist already", "What is run"


def alignment_tax(
    settings: JudgeSettingsArgument = None,
    *,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    baseline: BaselineOption = None,
    alpaca_eval_results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Of proxygold eval alpaca-eval: its --out, or its results.json.",
            rich_help_panel=_RESULTS,
            show_default=False,
        ),
    ] = None,
    super_ni_results: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Of proxygold eval super-ni.", rich_help_panel=_RESULTS, show_default=False),
    ] = None,
    responses_results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Of proxygold eval responses, with the share of relevant sentences by a judge perhaps.",
            rich_help_panel=_RESULTS,
            show_default=False,
        ),
    ] = None,
    super_ni: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Super-NaturalInstructions: what --data of eval super-ni takes.",
            rich_help_panel=_PARTS,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        Literal["paper", "official"],
        typer.Option(help="Of Super-NaturalInstructions, as in eval super-ni.", rich_help_panel=_PARTS),
    ] = "paper",
    per_task: Annotated[
        int, typer.Option(min=1, help="The first so many instances of a task.", rich_help_panel=_PARTS)
    ] = 100,
    reference_outputs: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="AlpacaEval's answers to beat. \\[default: alpaca_eval, from the hub]",
            rich_help_panel=_PARTS,
            show_default=False,
        ),
    ] = None,
    annotator: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="An annotator of AlpacaEval's. Without it, our own prompt.",
            rich_help_panel=_PARTS,
            show_default=False,
        ),
    ] = None,
    relevance: Annotated[
        Literal["encoder", "none"],
        typer.Option(
            help="Whether the encoder measures the share of relevant sentences in the answers to AlpacaEval.",
            rich_help_panel=_PARTS,
        ),
    ] = "encoder",
    judge: JudgeOption = None,
    base_url: BaseUrlOption = None,
    price_in: PriceInOption = None,
    price_out: PriceOutOption = None,
    max_cost: MaxCostOption = None,
    dry_run: DryRunOption = False,
    concurrency: ConcurrencyOption = 16,
    timeout: TimeoutOption = 60.0,
    retries: RetriesOption = 5,
    cache: CacheOption = None,
    template: TemplateOption = "chat",
    system: SystemOption = None,
    engine: EngineOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchSizeOption = 16,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when anything was left out.")] = False,
) -> None:
    """What being preferred costs in tasks: AlpacaEval's win rate against Super-NaturalInstructions' ROUGE-L (Table 4).

    Models are compared with the baseline, the first unless --baseline names another. A model pays the tax when its win
    rate is above the baseline's and its ROUGE-L below, both by paired differences whose intervals leave out 0.

    Each part is run, or taken from where it was run before. In --out are the results of the parts that are run, each
    in a directory of its own, trade_off.html with the figure, and trade_off.csv with a row for each model.
    """
    from proxygold.cli.evals.alignment_tax_parts import alpaca_eval_part, judge_part, relevance_part, super_ni_part
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.alignment_tax.benchmark import BENCHMARK
    from proxygold.evaluation.alignment_tax.runs import AlignmentTaxSettings, evaluate_alignment_tax
    from proxygold.evaluation.answers.subjects import open_subjects

    alpaca = alpaca_eval_part(alpaca_eval_results, reference_outputs, annotator, seed=seed, limit=limit)
    chosen = AlignmentTaxSettings(
        alpaca_eval=alpaca,
        super_ni=super_ni_part(super_ni_results, super_ni, protocol=protocol, per_task=per_task, limit=limit),
        relevance=relevance_part(responses_results, relevance, template),
        baseline=baseline,
    )
    # With results alone there is no model to open.
    subjects = (
        []
        if not (model or adapter)
        else open_subjects(
            model,
            adapter,
            None,
            template=template,
            system=system,
            engine=engine,
            dtype=dtype,
            batch_size=batch_size,
            force=force,
        )
    )
    asked = judge_part(
        alpaca,
        judge,
        settings=settings,
        base_url=base_url,
        price_in=price_in,
        price_out=price_out,
        max_cost=max_cost,
        concurrency=concurrency,
        timeout=timeout,
        retries=retries,
        cache=cache,
        dry_run=dry_run,
    )
    run_evaluation(
        BENCHMARK,
        out,
        subjects,
        lambda directory, progress: evaluate_alignment_tax(subjects, chosen, directory, progress, asked),
        strict=strict,
    )
