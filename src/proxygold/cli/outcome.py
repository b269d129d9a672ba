"""What `run` and `demo` print when a study is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from proxygold.study.config import Study

__all__ = ["run_and_print"]


def run_and_print(study: Study, runs: Path, *, strict: bool = False) -> None:
    """Run a study, then print its verdict, what was left out, and where everything is."""
    from proxygold.report.table import print_monotonicity
    from proxygold.study.progress import StudyProgress
    from proxygold.study.stages import run_study

    result = run_study(study, runs, StudyProgress())
    print_monotonicity(result.analysis)
    if result.rejected:
        print(f"{len(result.rejected)} prompts were left out; {result.run.rejected_file} lists each with its reason.")
    print(f"run     {result.run.path}")
    print(f"report  {result.report}")
    if strict and result.rejected:
        raise typer.Exit(2)
