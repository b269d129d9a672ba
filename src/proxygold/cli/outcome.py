"""What `run` and `demo` print when a study is done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from proxygold.study.config import Study

__all__ = ["run_and_print"]


def run_and_print(study: Study, runs: Path, *, strict: bool = False) -> None:
    """Run a study, then print its verdict, what was left out, and where everything is."""
    from proxygold.report.table import print_monotonicity
    from proxygold.study.progress import StudyProgress
    from proxygold.study.stages import run_study

    result = run_study(study, runs, StudyProgress())
    # Everything on standard output: when piped it is a log to be read, not a table alone.
    print_monotonicity(result.analysis, remarks=Console())
    if result.rejected:
        left_out = Counter(str(row["split"]) for row in result.rejected)
        listed = " and ".join(f"{count} {split}" for split, count in left_out.items())
        noun = "prompt was" if len(result.rejected) == 1 else "prompts were"
        print(f"{listed} {noun} left out: {result.run.rejected_file} lists each with its reason.")
    print(f"run     {result.run.path}")
    print(f"report  {result.report}")
    if strict and result.rejected:
        raise typer.Exit(2)
