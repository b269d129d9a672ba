"""`proxygold check`: vets a reward as a trainer will use it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxygold.cli.reward_options import EncoderOption, PluginOption, RewardLine, SettingsArgument

__all__ = ["check"]


def check(
    settings: SettingsArgument = None,
    *,
    reward: RewardLine,
    encoder: EncoderOption = None,
    plugin: PluginOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="JSONL or Parquet with answers like those to be scored. \\[default: answers to built-in prompts]",
            show_default=False,
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every finding here as well, as JSON.")] = None,
) -> None:
    """Vet a reward as a trainer will use it and a policy will abuse it, before anything is trained on it.

    Is an answer's score the same twice, in another order, alone, from eight threads, pickled, in another process?
    What do answers get that are empty, 100,000 characters long, of any script, or no valid text at all? What do
    conversations get, and rows without a reference? Does scoring touch the trainer's random numbers? Is the reward
    constant, does it just follow length, how fast is it?

    Each check is ok, warn (to know), FAIL (to mend) or skip (cannot be told while another fails), with what was seen
    and what to do. A `match` is measured on the answers that the checks use.

    A table on a terminal; tab-separated when piped, and then the count is on standard error. Exits with 2 when a
    check fails.
    """
    from proxygold.cli.checking import check_progress, print_report
    from proxygold.rewards.checks import check_reward, examples_from_file
    from proxygold.rewards.options import reward_from_options
    from proxygold.store import to_json, write_whole

    scorer = reward_from_options(reward, encoder, settings or [], plugins=plugin or ())
    examples = examples_from_file(data) if data is not None else None
    with check_progress() as advance:
        report = check_reward(scorer, examples, advance=advance)
    if json is not None:
        write_whole(json, to_json(report.as_dict()) + "\n")
        typer.echo(f"wrote {json}", err=True)
    print_report(report)
    if report.failed:
        raise typer.Exit(2)
