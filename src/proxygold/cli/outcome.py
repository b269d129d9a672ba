"""What `run`, `demo`, `validate` and `score --gold` print when they are done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from proxygold.study.config import Study
    from proxygold.study.progress import StudyProgress
    from proxygold.study.stages import StudyResult

__all__ = ["do_and_print", "print_result", "run_and_print"]


def run_and_print(study: Study, runs: Path, *, strict: bool = False, gold_later: bool = False, jobs: int = 1) -> None:
    """Run a study, then print its verdict, what was left out, and where everything is."""
    from proxygold.study.stages import run_study

    do_and_print(lambda progress: run_study(study, runs, progress, gold_later=gold_later, jobs=jobs), strict=strict)


def do_and_print(do: Callable[[StudyProgress], StudyResult], *, strict: bool = False) -> None:
    """Have every process that was launched do its share, and the first one print the result."""
    from proxygold.study.progress import StudyProgress
    from proxygold.training.processes import start_processes

    with start_processes() as processes:
        result = do(StudyProgress(None if processes.first else Console(quiet=True)))
    if processes.first:
        print_result(result, strict=strict)


def print_result(result: StudyResult, *, strict: bool = False) -> None:
    """Print the verdict, the checkpoints that were chosen, the overlap check, what was left out, and where all is.

    Raises typer.Exit(2) under `strict` when prompts were left out.
    """
    from proxygold.report.choices import choice_sentences
    from proxygold.report.table import print_monotonicity

    if result.analysis is not None:
        # Everything on standard output: when piped it is a log to be read, not a table alone.
        print_monotonicity(result.analysis, remarks=Console())
    for sentence in choice_sentences(result.run):
        print(sentence)
    for note in result.run.read_provenance().get("overlap", []):
        print(f"overlap: {note}")
    if result.rejected:
        left_out = Counter(str(row["split"]) for row in result.rejected)
        listed = " and ".join(f"{count} {split}" for split, count in left_out.items())
        noun = "prompt was" if len(result.rejected) == 1 else "prompts were"
        print(f"{listed} {noun} left out: {result.run.rejected_file} lists each with its reason.")
    print(f"run     {result.run.path}")
    if result.report is not None:
        print(f"report  {result.report}")
    else:
        print_what_is_missing(result)
    if strict and result.rejected:
        raise typer.Exit(2)


def print_what_is_missing(result: StudyResult) -> None:
    """Say which scores the verdict waits for, and how to make them."""
    run = result.run
    arms = run.arms()
    if not all(arm.scored_steps("proxy") for arm in arms):
        does = f"validate --out {run.path} --reward LINE" if "checkpoints" in run.read_study() else "run with its study"
        print(f"proxy   not scored yet: proxygold {does} --gold-later")
    if not all(arm.scored_steps("gold") for arm in arms):
        print(f"gold    not scored yet: proxygold score {run.path} --gold, here or where a copy of it lies")
