"""`proxygold merge`: a trained adapter as a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["merge"]


def merge(
    adapter: Annotated[
        str,
        typer.Argument(
            help="The adapter: a checkpoint of a run, DIR/model of a training, any PEFT adapter, or its hub id.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the model goes.", show_default=False)],
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="How the weights are stored; auto is as the base model's are."),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Write over DIR if it exists.")] = False,
) -> None:
    """Merge a trained adapter into its base model: one directory, with the tokenizer, that loads like any model.

    Policies and reward models alike. The weights are added in float32, whatever they are stored in. The base model is
    found by the name that the adapter has for it. The value head of a PPO checkpoint is left behind: only training
    needs it.
    """
    from proxygold.models.merging import merge_adapter

    merged = merge_adapter(adapter, out, dtype=dtype, overwrite=force)
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e9
    print(f"merged {adapter} into {merged.base}")
    print(f"{merged.parameters / 1e6:.1f} million weights in {merged.dtype}, {size:.2f} GB")
    print(f"{merged.kind}  {merged.directory}")
