"""`proxygold run`: every stage of a study."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from proxygold.errors import ConfigError

__all__ = ["run"]


def run(
    study: Annotated[Path, typer.Argument(help="The study file (YAML).", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings put over the file's, such as training.steps=1000."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run directories are made.")] = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its memory; run nothing.")] = False,
    gold_later: Annotated[
        bool, typer.Option("--gold-later", help="Leave gold out: proxygold score RUN --gold does it, anywhere.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many of the last checkpoints stay to go on from: training.keep. Those that are validated stay "
            "too, unless training.keep_validated=false.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            help="Rewards and seeds that train at the same time, each with its share of the cores and memory of its "
            "own. For small models on a CPU.",
        ),
    ] = 1,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when prompts were left out.")] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --dry-run: plan the memory of one of so many processes. \\[default: those launched]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train on each reward, answer the validation prompts at each checkpoint, score with proxy and gold, judge.

    Everything goes to runs/NAME. After Ctrl-C, a crash or a kill, the same command goes on: what is written stays, and
    of training at most the last training.save_every steps are done again, exactly as they were. A damaged checkpoint is
    named and stepped over. A finished study trains on with a higher training.steps.

    With data.dev, its prompts choose the best checkpoint of each training run, by choice.by; the validation prompts
    take no part in that.
    """
    from proxygold.study.loading import load_study

    loaded = load_study(study, [*(overrides or []), *([] if keep is None else [f"training.keep={keep}"])])
    if processes is not None and not dry_run:
        raise ConfigError("--processes is for --dry-run. A run has the processes that a launcher starts.")
    if dry_run:
        from proxygold.study.plan import print_plan
        from proxygold.training.processes import launched_processes

        if os.environ.get("RANK", "0") == "0":  # of several processes, one prints
            print_plan(loaded, runs, processes=processes or launched_processes(), gold_later=gold_later)
        return
    from proxygold.cli.outcome import run_and_print

    run_and_print(loaded, runs, strict=strict, gold_later=gold_later, jobs=jobs)
