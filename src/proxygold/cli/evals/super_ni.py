"""`proxygold eval super-ni`."""

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

__all__ = ["super_ni"]

_ASKED = "What is asked"


def super_ni(
    model: ModelOption = None,
    adapter: AdapterOption = None,
    outputs: OutputsOption = None,
    *,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="PATH",
            help="A copy of the natural-instructions repository, its tasks directory, a task's JSON file, or rows with "
            "task, instruction, input and reference.",
            rich_help_panel=_ASKED,
            show_default=False,
        ),
    ],
    tasks: Annotated[
        Path | None,
        typer.Option(
            "--tasks",
            metavar="FILE",
            help="The tasks to ask, a name a line. \\[default: the repository's splits/default/test_tasks.txt where it "
            "is beside the tasks, else all]",
            rich_help_panel=_ASKED,
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        Literal["paper", "official"],
        typer.Option(
            "--protocol",
            help="paper: definition and input, compared with the first reference. official: the original prompt, "
            "compared with the best of all references.",
            rich_help_panel=_ASKED,
        ),
    ] = "paper",
    examples: Annotated[
        int,
        typer.Option(
            "--examples",
            min=0,
            help="Positive examples in an official prompt, 0 to 2 as a rule.",
            rich_help_panel=_ASKED,
        ),
    ] = 0,
    per_task: Annotated[
        int, typer.Option("--per-task", min=1, help="The first so many instances of a task.", rich_help_panel=_ASKED)
    ] = 100,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Tokens of an answer at most.", rich_help_panel=_ASKED)
    ] = 128,
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
    """Whether a model still does what an instruction says: Super-NaturalInstructions, by ROUGE-L (Table 4).

    Answers are greedy. ROUGE-L and exact match are times 100, over all instances, by category, and in the files by
    task. FILE of --outputs has rows with id, or task and input; the original tool's predictions.jsonl is one.

    Answers are written as they come, and the same command goes on after a stop.
    """
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.answers.subjects import open_subjects
    from proxygold.evaluation.super_ni.benchmark import SuperNISettings, evaluate_super_ni

    settings = SuperNISettings(
        data=data.expanduser(),
        tasks=tasks,
        protocol=protocol,
        examples=examples,
        per_task=per_task,
        limit=limit,
        max_new_tokens=max_new_tokens,
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
        "super-ni",
        out,
        subjects,
        lambda directory, progress: evaluate_super_ni(subjects, settings, directory, progress),
        strict=strict,
    )
