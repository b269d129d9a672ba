"""`proxygold score`: the reward of every row of data of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from proxygold.cli.reward_options import CalibrateOption, EncoderOption, PluginOption, RewardLine

__all__ = ["score"]


def score(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA|KEY=VALUE",
            help="Files (.jsonl, .jsonl.gz, .jsonl.zst, .parquet), directories, patterns in quotes, or "
            "hub:NAME\\[:SPLIT]; and settings, such as encoder.normalize=false or template=alpaca.",
            show_default=False,
        ),
    ],
    *,
    reward: RewardLine,
    out: Annotated[Path, typer.Option(help="Where to write; the name says the format.", show_default=False)],
    encoder: EncoderOption = None,
    plugin: PluginOption = None,
    calibrate: CalibrateOption = None,
    name: Annotated[str, typer.Option(help="What the added fields are called.")] = "reward",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that score, each with its own encoder. \\[default: 1; under Ray, as many as fit]",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="This machine, or Ray Data: the cluster that RAY_ADDRESS names, else a local one."),
    ] = "local",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when rows were rejected.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over OUT if it exists.")] = False,
) -> None:
    """Add `reward` and `reward_parts`, the value of each part of the line, to every row.

    A row has `prompt` (text, or a list of messages) and `completion`, and where the reward needs them
    `reference` and `query_type` (open_ended or closed_ended). A reward that cannot be computed is null, with
    `reward_reason`.

    A row that cannot be used at all is left out, and listed with its file and line in OUT.rejected.jsonl.

    All data becomes one file, in the order of the data; a directory means the data files in it and below it, by name.
    Memory does not grow with the data. When it is stopped (Ctrl-C, no space left, a crash), what is done is kept in
    OUT.partial, and the same command goes on from there.
    """
    from proxygold.cli.scoring import choose_engine, print_summary, row_progress, split_arguments
    from proxygold.data.sources import find_sources
    from proxygold.errors import RewardError
    from proxygold.rewards.options import reward_from_options
    from proxygold.rewards.score_file import calibrate_on_file, score_file

    given, settings = split_arguments(data)
    scorer = reward_from_options(reward, encoder, settings, plugins=plugin or ())
    chosen = choose_engine(engine, workers)
    if calibrate is not None:
        scorer = calibrate_on_file(scorer, calibrate)
    elif not scorer.resolved:
        raise RewardError(
            f"{scorer} has a `match` that has not been measured. Measure it with --calibrate FILE, on completions of "
            "the policy that training starts from, or write your own numbers: rescale(AR, 0, highest, 0, new_highest)."
        )
    sources = find_sources(given)
    with row_progress(sources) as advance:
        summary = score_file(sources, out, scorer, name=name, overwrite=force, engine=chosen, advance=advance)
    print_summary(summary, scorer)
    if strict and summary.rejected:
        raise typer.Exit(2)
