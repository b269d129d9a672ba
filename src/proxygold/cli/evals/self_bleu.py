"""`proxygold eval self-bleu`."""

from __future__ import annotations

from typing import Annotated

import typer

from proxygold.cli.evals.options import (
    AdapterOption,
    BaselineOption,
    BatchSizeOption,
    DtypeOption,
    EngineOption,
    ForceOption,
    LimitOption,
    ModelOption,
    OutOption,
    OutputsOption,
    PromptsOption,
    QueryTypesOption,
    SeedOption,
    SystemOption,
    TemplateOption,
)

__all__ = ["self_bleu"]

_MEASURE = "What is measured"


def self_bleu(
    model: ModelOption = None,
    adapter: AdapterOption = None,
    outputs: OutputsOption = None,
    *,
    prompts: PromptsOption = None,
    query_types: QueryTypesOption = None,
    samples: Annotated[
        int, typer.Option(min=2, help="Answers to each prompt that are compared.", rich_help_panel=_MEASURE)
    ] = 10,
    order: Annotated[int, typer.Option(min=1, help="n-grams up to so many words.", rich_help_panel=_MEASURE)] = 4,
    words: Annotated[
        str,
        typer.Option(metavar="KIND", help="A word: by wordpunct, whitespace or unicode.", rich_help_panel=_MEASURE),
    ] = "wordpunct",
    temperature: Annotated[float, typer.Option(min=0, help="Of the sampling.", rich_help_panel=_MEASURE)] = 1.0,
    top_p: Annotated[
        float,
        typer.Option(min=0, max=1, help="The nucleus: the likeliest tokens of this mass.", rich_help_panel=_MEASURE),
    ] = 0.9,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of an answer at most.", rich_help_panel=_MEASURE)
    ] = 512,
    baseline: BaselineOption = None,
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
    """How alike a model's answers to the same prompt are: Self-BLEU of 10 nucleus samples, by query type (Figure 5).

    High is consistent, low is diverse: a good policy is consistent where the query is closed-ended, and diverse where
    it is open-ended. FILE of --outputs has several rows a prompt, as `proxygold generate --samples 10` writes them.
    """
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.answers.subjects import open_subjects
    from proxygold.evaluation.self_bleu.benchmark import SelfBleuSettings, evaluate_self_bleu
    from proxygold.evaluation.self_bleu.sampled_answers import asked_prompts
    from proxygold.templates import get_template

    settings = SelfBleuSettings(
        samples=samples,
        order=order,
        words=words,
        # The tokenizer's own format has an end token, and no text that opens a turn.
        stop_strings=() if template == "chat" else get_template(template).role_markers,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        baseline=baseline,
    )
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
    asked = asked_prompts(subjects, prompts, limit=limit, query_types=query_types)
    run_evaluation(
        "self-bleu",
        out,
        subjects,
        lambda directory, progress: evaluate_self_bleu(subjects, settings, directory, progress, asked),
        strict=strict,
    )
