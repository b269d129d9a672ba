"""`proxygold demo`: the embedded study, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings put over the demo's, such as training.steps=8."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run directories are made.")] = Path("runs"),
    jobs: Annotated[
        int, typer.Option(min=1, help="Rewards that train at the same time, each with its share of the cores.")
    ] = 2,
    show: Annotated[bool, typer.Option("--show", help="Print the demo's study file; run nothing.")] = False,
) -> None:
    """Train SmolLM2-135M with PPO on two rewards, judge it with a small gold model, and write the report.

    It takes minutes on two CPU cores and downloads nothing: the models come from installed packages. After Ctrl-C,
    the same command goes on. The gold model is small; the demo shows how the method works, not how a large policy
    would behave.
    """
    from proxygold.study.demo import demo_text

    if show:
        typer.echo(demo_text(), nl=False)
        return
    from proxygold.cli.outcome import run_and_print
    from proxygold.study.loading import parse_study

    run_and_print(parse_study(demo_text(), overrides or [], source="the demo's study"), runs, jobs=jobs)
