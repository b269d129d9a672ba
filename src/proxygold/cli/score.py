"""`proxygold score`: the reward of every row of a data file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["score"]


def score(
    data: Annotated[Path, typer.Argument(help="JSONL (.jsonl, .jsonl.gz) or Parquet.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings, such as encoder.normalize=false or template=alpaca."),
    ] = None,
    *,
    reward: Annotated[
        str, typer.Option(help="The reward line, such as 'LI * RP', or a name: RER.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Where to write; the name says the format.", show_default=False)],
    encoder: Annotated[
        str | None, typer.Option(help="The encoder of QR and AR. [default: all-minilm-l6-v2]", show_default=False)
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Measure `match` on the completions in this file: the start policy's.", show_default=False),
    ] = None,
    name: Annotated[str, typer.Option(help="What the added fields are called.")] = "reward",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when rows were rejected.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over OUT if it exists.")] = False,
) -> None:
    """Add `reward` and `reward_parts`, the value of each part of the line, to every row.

    A row has `prompt` (text, or a list of messages) and `completion`, and where the reward needs them
    `reference` and `query_type` (open_ended or closed_ended). A reward that cannot be computed is null, with
    `reward_reason`.

    A row that cannot be used at all is left out, and listed with its line in OUT.rejected.jsonl.
    """
    from proxygold.cli.scoring import print_summary, row_progress
    from proxygold.errors import RewardError
    from proxygold.rewards.options import reward_from_options
    from proxygold.rewards.score_file import calibrate_on_file, score_file

    scorer = reward_from_options(reward, encoder, settings or [])
    if calibrate is not None:
        scorer = calibrate_on_file(scorer, calibrate)
    elif not scorer.resolved:
        raise RewardError(
            f"{scorer} has a `match` that has not been measured. Measure it with --calibrate FILE, on completions of "
            "the policy that training starts from, or write your own numbers: rescale(AR, 0, highest, 0, new_highest)."
        )
    with row_progress(data) as advance:
        summary = score_file(data, out, scorer, name=name, overwrite=force, advance=advance)
    print_summary(summary, scorer)
    if strict and summary.rejected:
        raise typer.Exit(2)
