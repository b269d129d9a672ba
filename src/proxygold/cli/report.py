"""`proxygold report`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(run: Annotated[Path, typer.Argument(help="A run directory, such as runs/NAME.")]) -> None:
    """Write RUN/report.html: one file that needs no network.

    It holds the verdict and the table behind it, proxy and gold by training step, gold by query type, training curves,
    sample completions at the first and the last checkpoint, and the study that made them. A run that is still going can
    be reported too.
    """
    from proxygold.report.build import build_report
    from proxygold.store import RunDirectory

    typer.echo(str(build_report(RunDirectory(run))))
