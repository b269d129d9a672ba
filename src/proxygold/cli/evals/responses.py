"""`proxygold eval responses`."""

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
    PromptsOption,
    QueryTypesOption,
    RetriesOption,
    SeedOption,
    SystemOption,
    TemplateOption,
    TimeoutOption,
)

if TYPE_CHECKING:
    from proxygold.evaluation.directory import EvaluationDirectory
    from proxygold.evaluation.progress import EvalProgress
    from proxygold.evaluation.results import Evaluation

__all__ = ["EXAMPLES", "responses"]

EXAMPLES = (
    "proxygold eval responses --outputs SFT=sft.json --outputs RER=rer.json --judge gpt-4.1 --dry-run\n\n"
    "proxygold eval responses --run runs/alpacafarm --steps all\n\n"
    "proxygold eval responses --model org/sft-7b --adapter runs/hh/RER/seed-0/checkpoints/step-5000 "
    "--template vicuna --gold Nexusflow/Starling-RM-34B gold.kind=value-head gold.template=chatml"
)


def responses(
    settings: JudgeSettingsArgument = None,
    *,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    outputs: OutputsOption = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="Take a run's validation answers, of every reward and seed, with the gold scores that it has.",
            rich_help_panel="Whose answers",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        str,
        typer.Option(
            help="Which checkpoints of --run: last, all, or numbers such as 0,500.", rich_help_panel="Whose answers"
        ),
    ] = "last",
    baseline: BaselineOption = None,
    prompts: PromptsOption = None,
    query_types: QueryTypesOption = None,
    limit: LimitOption = None,
    template: TemplateOption = "chat",
    system: SystemOption = None,
    engine: EngineOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchSizeOption = 16,
    seed: SeedOption = 0,
    temperature: Annotated[float, typer.Option(min=0, help="Of the answers; 0 is greedy.")] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 512,
    ngram: Annotated[int, typer.Option(min=1, help="Words of the n-grams whose repetition is counted.")] = 4,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Count the tokens of answers that do not say how many they have, as this model does.",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="The bi-encoder that finds relevant sentences; none leaves it out.")
    ] = "all-minilm-l6-v2",
    threshold: Annotated[float, typer.Option(help="The least relevance of a relevant sentence to its query.")] = 0.3,
    gold: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A reward model, by which answers are scored. \\[default: of --run the scores that it has]",
            show_default=False,
        ),
    ] = None,
    judge: JudgeOption = None,
    sentence_prompt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your own question to the judge, with {question} and either {sentences} or {answer} in it.",
            rich_help_panel="The judge",
            show_default=False,
        ),
    ] = None,
    base_url: BaseUrlOption = None,
    price_in: PriceInOption = None,
    price_out: PriceOutOption = None,
    max_cost: MaxCostOption = None,
    concurrency: ConcurrencyOption = 16,
    timeout: TimeoutOption = 60.0,
    retries: RetriesOption = 5,
    cache: CacheOption = None,
    dry_run: DryRunOption = False,
    out: OutOption = None,
    force: ForceOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when anything was left out.")] = False,
) -> None:
    """What answers are like: length, repetition, how often the model ends by itself, relevant sentences, gold.

    Each over all answers and by query type (Table 3 of the paper). Relevant sentences are judged by an LLM with
    --judge, and always told by the bi-encoder, which costs nothing and is a rougher measure.

    With gold scores, a page with gold by query type (Figure 4): bars of several models, lines by training step for the
    checkpoints of a run.

    KEY=VALUE goes to the judge as it is; gold.KEY=VALUE and encoder.KEY=VALUE set the reward model and the encoder.
    """
    from proxygold.cli.evals.judging import judge_if_asked
    from proxygold.cli.evals.response_settings import read_settings, read_subjects
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.responses.benchmark import BENCHMARK, evaluate_responses
    from proxygold.evaluation.responses.sentence_judging import PARAMETERS

    subjects, asked = read_subjects(
        model,
        adapter,
        outputs,
        run,
        steps=steps,
        prompts=prompts,
        query_types=query_types,
        limit=limit,
        answering={
            "template": template,
            "system": system,
            "engine": engine,
            "dtype": dtype,
            "batch_size": batch_size,
            "force": force,
        },
    )
    chosen, for_judge = read_settings(
        settings or [],
        template=template,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
        ngram=ngram,
        tokenizer=tokenizer,
        encoder=encoder,
        threshold=threshold,
        gold=gold,
        sentence_prompt=sentence_prompt,
        baseline=baseline,
    )
    judged = judge_if_asked(
        judge,
        defaults=PARAMETERS,
        settings=for_judge,
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
        with judged as asks:  # in here, so that a dry run ends before results are written
            return evaluate_responses(subjects, asked, chosen, directory, progress, asks)

    run_evaluation(BENCHMARK, out, subjects, evaluate, strict=strict)
