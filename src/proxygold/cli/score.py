"""`proxygold score`: the reward of every row of data of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from proxygold.cli.reward_options import CalibrateOption, EncoderOption, PluginOption, RewardLineOption
from proxygold.errors import ConfigError, RewardError

__all__ = ["score"]


def score(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA|KEY=VALUE",
            help="Files (.jsonl, .jsonl.gz, .jsonl.zst, .parquet), directories, patterns in quotes, or "
            "hub:NAME\\[:SPLIT]; and settings, such as encoder.normalize=false or template=alpaca. With --gold: run "
            "directories.",
            show_default=False,
        ),
    ],
    *,
    reward: RewardLineOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; the name says the format.", show_default=False)
    ] = None,
    gold: Annotated[
        bool,
        typer.Option("--gold", help="Score the answers in run directories with their gold reward, where they stand."),
    ] = False,
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

    With --gold, DATA is a run directory of `run --gold-later`, `rollout` or `validate`, or a copy of one on a machine
    that has the gold reward: its rollouts and its study.yaml are all that is read. Gold's scores are put beside the
    proxy's, and with both there, the verdict and the page are made. gold.model=DIR says where gold lies on this
    machine.
    """
    if gold:
        from proxygold.cli.gold_scoring import score_gold_in

        other = {
            "--reward": reward,
            "--out": out,
            "--encoder": encoder,
            "--plugin": plugin,
            "--calibrate": calibrate,
            "--workers": workers,
            "--engine": engine != "local",
            "--strict": strict,
            "--force": force,
        }
        score_gold_in(data, without=[option for option, value in other.items() if value])
        return
    if reward is None or out is None:
        option = "--reward" if reward is None else "--out"
        raise ConfigError(f"Missing option '{option}': give it, or --gold to score a run. See proxygold score --help.")
    from proxygold.cli.scoring import choose_engine, print_summary, row_progress, split_arguments
    from proxygold.data.sources import find_sources
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
