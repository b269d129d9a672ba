"""Options of the verbs that take checkpoints of any trainer: `validate` and `rollout`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["CheckpointsOption", "OutOption", "PromptsOption", "SettingsArgument", "StartOption", "TemplateOption"]

SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="Settings, such as validation.max_new_tokens=256 or policy.dtype=float32."
    ),
]
OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where everything is written.", show_default=False)
]
CheckpointsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoints",
        metavar="GLOB",
        help="The checkpoints of one training run, a pattern in quotes: 'out/checkpoint-*'. Once more for each other "
        "seed. STEP=PATH,STEP=PATH where the paths do not say the step.",
        show_default=False,
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="MODEL",
        help="The model that training began from: step 0. Adapters name theirs themselves.",
        show_default=False,
    ),
]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        metavar="DATA",
        help="Prompts to answer: a file, a known data set, a hub id or builtin, as data.validation of a study.",
        show_default=False,
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="NAME",
        help="How prompts are written for the model. Without it: the tokenizer's chat template.",
        show_default=False,
    ),
]
