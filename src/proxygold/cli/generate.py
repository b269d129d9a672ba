"""`proxygold generate`: what a model says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["generate"]


def generate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model or an adapter: a bundled name, a directory, a checkpoint of a run, or a hub id.",
            show_default=False,
        ),
    ],
    prompts: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]",
            help="Prompts to answer: a file, a known data set, a hub id or builtin, as data.validation of a study.",
            show_default=False,
        ),
    ] = None,
    *,
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="TEXT", help="A prompt; more than once for several.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the answers to this JSONL file, which `score` reads, in place of printing them.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Answer the first so many prompts of DATA.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each prompt.")] = 1,
    template: Annotated[
        str, typer.Option(help="How prompts are written: chat for the tokenizer's own, or alpaca, vicuna, hh, …")
    ] = "chat",
    system: Annotated[
        str | None, typer.Option(help="A system message for prompts that have none.", show_default=False)
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Sample from the likeliest tokens of this mass.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample from so many tokens; 0 is all.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Answers that are written at a time.")] = 16,
    device: Annotated[str, typer.Option(help="A torch device, or auto.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option(help="Of the weights; auto is bfloat16 where it is fast.")
    ] = "auto",
    quantization: Annotated[
        Literal["none", "8bit", "4bit"], typer.Option(help="Of the weights of a whole model, by bitsandbytes.")
    ] = "none",
    force: Annotated[bool, typer.Option("--force", help="Write over OUT if it exists.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when prompts were left out.")] = False,
) -> None:
    """Let a model answer prompts, as a study's validation would: a look at what it says.

    Without --out, prompts and answers are printed. An answer that reached --max-new-tokens ends with […]. The same
    seed gives the same answers, whatever shares their batch.
    """
    from proxygold.cli.generating import run_generation

    raise typer.Exit(
        run_generation(
            {
                "model": model,
                "prompt_template": template,
                "system_prompt": system,
                "device": device,
                "dtype": dtype,
                "quantization": quantization,
            },
            {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k},
            source=prompts,
            texts=prompt or (),
            out=out,
            limit=limit,
            samples=samples,
            seed=seed,
            batch_size=batch_size,
            overwrite=force,
            strict=strict,
        )
    )
