"""Options of every verb that takes a reward: the line, and what it needs besides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["CalibrateOption", "EncoderOption", "PluginOption", "RewardLine", "RewardLineOption", "SettingsArgument"]

SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings, such as encoder.normalize=false or template=alpaca."),
]
RewardLine = Annotated[
    str, typer.Option("--reward", help="The reward line, such as 'LI * RP', or a name: RER.", show_default=False)
]
RewardLineOption = Annotated[
    str | None, typer.Option("--reward", help="The reward line, such as 'LI * RP', or a name: RER.", show_default=False)
]
EncoderOption = Annotated[
    str | None,
    typer.Option("--encoder", help="The encoder of QR and AR. Without it: all-minilm-l6-v2.", show_default=False),
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option(
        "--calibrate", help="Measure `match` on the completions in this file: the start policy's.", show_default=False
    ),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", help="A Python file with features of your own; more than once for more.", show_default=False
    ),
]
