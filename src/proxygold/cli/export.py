"""`proxygold export`: what a trainer needs to use a reward, ready to launch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxygold.cli.reward_options import CalibrateOption, EncoderOption, PluginOption, RewardLine, SettingsArgument

__all__ = ["export"]


def export(
    prompts: Annotated[
        str, typer.Argument(help="Prompts to train on: JSONL, Parquet, or `builtin`.", show_default=False)
    ],
    settings: SettingsArgument = None,
    *,
    to: Annotated[str, typer.Option(help="trl, verl, openrlhf or verifiers.", show_default=False)],
    reward: RewardLine,
    model: Annotated[str, typer.Option(help="The model to train: a hub id or a directory.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The directory to write.", show_default=False)],
    validation: Annotated[
        str | None, typer.Option(help="Prompts to validate on: JSONL, Parquet, or `builtin`.", show_default=False)
    ] = None,
    encoder: EncoderOption = None,
    plugin: PluginOption = None,
    calibrate: CalibrateOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 5_000,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest completion, in tokens.")] = 512,
    fallback: Annotated[
        float, typer.Option(help="The reward of a completion without a score, for trainers that need a number.")
    ] = 0.0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when prompts were rejected.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over OUT if it exists.")] = False,
) -> None:
    """Write the reward as a file, the prompts in the trainer's form, and a launch command with the paper's settings.

    Launch with OUT/launch.sh, where the trainer is installed; what follows it is added to the command.
    """
    from proxygold.cli.exporting import print_export, read_export_prompts
    from proxygold.integrations.export.spec import ExportSpec
    from proxygold.integrations.export.write import write_export
    from proxygold.rewards.options import parse_options, reward_from_options
    from proxygold.rewards.score_file import calibrate_on_file

    given = [*(settings or []), f"max_new_tokens={max_new_tokens}"]
    scorer = reward_from_options(reward, encoder, given, plugins=plugin or ())
    if calibrate is not None:
        scorer = calibrate_on_file(scorer, calibrate)
    scorer.score([])  # refuses a `match` that has not been measured
    # RER needs max_new_tokens to be written out, and no longer when it is.
    parsed = parse_options(encoder, given, plugins=plugin or ())
    options = parsed.model_dump(mode="json", exclude_defaults=True, exclude={"max_new_tokens"})
    if parsed.plugins:
        options["plugins"] = [str(Path(path).resolve()) for path in parsed.plugins]
    train, rejected = read_export_prompts(prompts, "train", scorer)
    held_out, rejected_too = read_export_prompts(validation, "validation", scorer) if validation else ([], [])
    spec = ExportSpec(str(scorer), options, model, train, held_out, steps, max_new_tokens, fallback)
    files = write_export(to, spec, out, overwrite=force)
    print_export(to, spec, files, [*rejected, *rejected_too])
    if strict and (rejected or rejected_too):
        raise typer.Exit(2)
