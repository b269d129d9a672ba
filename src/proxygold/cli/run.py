"""`proxygold run`: every stage of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["run"]


def run(
    study: Annotated[Path, typer.Argument(help="The study file (YAML).", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings put over the file's, such as training.steps=1000."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run directories are made.")] = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its memory; run nothing.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when prompts were left out.")] = False,
) -> None:
    """Train on each reward, answer the validation prompts at each checkpoint, score with proxy and gold, judge.

    Everything goes to runs/NAME. After Ctrl-C or a crash, the same command goes on: what is written stays, and of
    training at most the last training.save_every steps are done again, exactly as they were. A finished study trains on
    with a higher training.steps.
    """
    from proxygold.study.loading import load_study

    loaded = load_study(study, overrides or [])
    if dry_run:
        from proxygold.study.plan import print_plan

        print_plan(loaded, runs)
        return
    from proxygold.cli.outcome import run_and_print

    run_and_print(loaded, runs, strict=strict)
