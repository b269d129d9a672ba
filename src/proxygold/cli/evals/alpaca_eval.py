"""`proxygold eval alpaca-eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    OutputsOption,
    PriceInOption,
    PriceOutOption,
    QueryTypesOption,
    RetriesOption,
    SeedOption,
    SystemOption,
    TemplateOption,
    TimeoutOption,
)
from proxygold.errors import ConfigError

if TYPE_CHECKING:
    from proxygold.evaluation.directory import EvaluationDirectory
    from proxygold.evaluation.progress import EvalProgress
    from proxygold.evaluation.results import Evaluation

__all__ = ["EXAMPLES", "alpaca_eval"]

EXAMPLES = (
    "proxygold eval alpaca-eval --model SFT=sft/model --model RER=runs/alpacafarm/RER/seed-0/checkpoints/step-5000 "
    "--template alpaca --annotator evaluators_configs/alpaca_eval_gpt4 --baseline SFT --price-in 30 --price-out 60 "
    "--max-cost 50\n\n"
    "proxygold eval alpaca-eval --outputs mine/model_outputs.json --judge qwen3 --base-url http://localhost:8000/v1\n\n"
    "proxygold eval alpaca-eval --annotations results/my-model/annotations.json --difficulties df_gamed.csv"
)

_FILES = "AlpacaEval's files"


def alpaca_eval(
    settings: JudgeSettingsArgument = None,
    *,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    outputs: OutputsOption = None,
    baseline: BaselineOption = None,
    reference_outputs: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The answers to beat: rows with instruction, output and generator. \\[default: alpaca_eval: the hub's "
            "805, with text-davinci-003's answers]",
            rich_help_panel=_FILES,
            show_default=False,
        ),
    ] = None,
    annotator: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="An annotator of AlpacaEval's: the directory of its configs.yaml. Without it, our own prompt.",
            rich_help_panel=_FILES,
            show_default=False,
        ),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="A recorded annotations.json, of which the numbers are computed again; nothing is answered or judged. "
            "More than once to compare several.",
            rich_help_panel=_FILES,
            show_default=False,
        ),
    ] = None,
    difficulties: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="AlpacaEval's df_gamed.csv or instruction_difficulty.csv, for its own length-controlled win rate.",
            rich_help_panel=_FILES,
            show_default=False,
        ),
    ] = None,
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
    temperature: Annotated[float, typer.Option(min=0, help="Of the answers; 0 is greedy.")] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 512,
    seed: SeedOption = 0,
    query_types: QueryTypesOption = None,
    limit: LimitOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when anything was left out.")] = False,
) -> None:
    """AlpacaEval: how often a judge prefers a model's answers to text-davinci-003's, or to any others.

    The win rate, and a length-controlled one, with intervals; by query type and source too; and paired differences of
    models. The judge is that of --annotator, or --judge with our own prompt, or both: the annotator's prompt with
    another judge. Without either, the answers are written and nothing is judged.

    In --out are model_outputs.json and annotations.json of each model and leaderboard.csv, as AlpacaEval writes them.
    """
    from proxygold.cli.evals.judging import judge_if_asked
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.alpaca_eval.annotator import own_annotator, read_annotator
    from proxygold.evaluation.alpaca_eval.benchmark import (
        BENCHMARK,
        AlpacaEvalSettings,
        evaluate_alpaca_eval,
        evaluate_annotations,
    )
    from proxygold.evaluation.alpaca_eval.instructions import ALPACA_EVAL
    from proxygold.evaluation.alpaca_eval.length_controlled import read_difficulties
    from proxygold.evaluation.answers.subjects import open_subjects
    from proxygold.models.policy_settings import SamplingSettings

    chosen = AlpacaEvalSettings(
        reference_outputs=reference_outputs if annotations else reference_outputs or ALPACA_EVAL,
        annotator=read_annotator(annotator) if annotator else own_annotator(),
        sampling=SamplingSettings(max_new_tokens=max_new_tokens, temperature=temperature),
        seed=seed,
        limit=limit,
        query_types=query_types,
        difficulties=read_difficulties(difficulties) if difficulties else None,
        baseline=baseline,
    )
    if annotations:
        _check_alone(model=model, adapter=adapter, outputs=outputs, annotator=annotator, judge=judge, limit=limit)

        def recompute(directory: EvaluationDirectory, progress: EvalProgress) -> Evaluation:
            return evaluate_annotations(annotations, chosen, directory)

        run_evaluation(BENCHMARK, out, [], recompute, strict=strict)
        return
    subjects = open_subjects(
        model,
        adapter,
        outputs,
        template=template,
        system=system,
        engine=engine,
        dtype=dtype,
        batch_size=batch_size,
        force=force,
    )
    name = judge or chosen.annotator.model
    if annotator and not name:
        raise ConfigError(
            f"{annotator} names no model of an OpenAI-compatible endpoint. Name the judge: --judge MODEL."
        )
    judged = judge_if_asked(
        name,
        defaults=chosen.annotator.parameters,
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

    def evaluate(directory: EvaluationDirectory, progress: EvalProgress) -> Evaluation:
        with judged as asked:  # in here, so that a dry run ends before results are written
            return evaluate_alpaca_eval(subjects, chosen, directory, progress, asked)

    run_evaluation(BENCHMARK, out, subjects, evaluate, strict=strict)


def _check_alone(**given: object) -> None:
    """Raises ConfigError for what would not be read beside recorded annotations."""
    if also := next((name for name, value in given.items() if value), None):
        raise ConfigError(
            f"--annotations has answers and preferences that are recorded, and --{also} is for new ones. Leave one out."
        )
