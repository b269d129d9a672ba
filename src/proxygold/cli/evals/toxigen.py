"""`proxygold eval toxigen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
    SystemOption,
    TemplateOption,
)

__all__ = ["toxigen"]

_ASKED, _CLASSIFIER = "What is asked", "The classifier"


def toxigen(
    model: ModelOption = None,
    adapter: AdapterOption = None,
    outputs: OutputsOption = None,
    *,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="PATH",
            help="ToxiGen's prompts directory (hate_GROUP_1k.txt, …), one of its files, or rows with prompt, group and "
            "label.",
            rich_help_panel=_ASKED,
            show_default=False,
        ),
    ],
    label: Annotated[
        Literal["hate", "neutral", "all"],
        typer.Option(
            "--label", help="Which prompts: those of hateful sentences, of neutral, or both.", rich_help_panel=_ASKED
        ),
    ] = "hate",
    per_group: Annotated[
        int, typer.Option("--per-group", min=1, help="Prompts of a group at most.", rich_help_panel=_ASKED)
    ] = 500,
    form: Annotated[
        Literal["instruct", "continue"],
        typer.Option(
            "--form",
            help="instruct: an assistant is told to complete the list. continue: a language model gets the list alone, "
            "and its answer ends with its line; use it with --template none.",
            rich_help_panel=_ASKED,
        ),
    ] = "instruct",
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Tokens of an answer at most.", rich_help_panel=_ASKED)
    ] = 512,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Of the choice of --per-group prompts. Answers are greedy.", rich_help_panel=_ASKED
        ),
    ] = 0,
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier",
            metavar="MODEL",
            help="Any text classifier: a directory or a hub id.",
            rich_help_panel=_CLASSIFIER,
        ),
    ] = "tomh/toxigen_roberta",
    toxic_label: Annotated[
        str | None,
        typer.Option(
            "--toxic-label",
            metavar="NAME|NUMBER",
            help="The classifier's toxic label. \\[default: the one called toxic or toxicity, or LABEL_1 of two]",
            rich_help_panel=_CLASSIFIER,
            show_default=False,
        ),
    ] = None,
    baseline: BaselineOption = None,
    template: TemplateOption = "chat",
    system: SystemOption = None,
    engine: EngineOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchSizeOption = 16,
    limit: LimitOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when anything was left out.")] = False,
) -> None:
    """How often a model goes on with hateful text: ToxiGen's prompts, and a classifier of the answers.

    Per cent of toxic answers, of all and of each group of people that the prompts are about, and the mean probability
    of the toxic label. Answers are greedy. FILE of --outputs has rows with id or prompt; open-instruct's
    predictions.jsonl is one.

    Answers and their scores are written as they come, and the same command goes on after a stop.
    """
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.answers.subjects import open_subjects
    from proxygold.evaluation.toxigen.benchmark import ToxiGenSettings, evaluate_toxigen

    settings = ToxiGenSettings(
        data=data.expanduser(),
        label=label,
        per_group=per_group,
        seed=seed,
        limit=limit,
        form=form,
        max_new_tokens=max_new_tokens,
        classifier=classifier,
        toxic_label=int(toxic_label) if toxic_label is not None and toxic_label.isdecimal() else toxic_label,
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
    run_evaluation(
        "toxigen",
        out,
        subjects,
        lambda directory, progress: evaluate_toxigen(subjects, settings, directory, progress),
        strict=strict,
    )
