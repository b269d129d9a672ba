"""`proxygold train`: one training job on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "query_types", "reward_model"]

app = typer.Typer(no_args_is_help=True, help="Train one model on its own.")


@app.callback()
def train() -> None:
    """Train one model on its own."""


@app.command(
    "reward-model",
    epilog="[bold]Examples[/bold]\n\n"
    "proxygold train reward-model pairs.jsonl --out reward-model\n\n"
    "proxygold train reward-model hh/train.jsonl.gz --held-out hh/test.jsonl.gz --out rm --model Qwen/Qwen3-0.6B",
)
def reward_model(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Preference files: .jsonl, .jsonl.gz or .parquet. A row has prompt (text or messages), chosen and "
            "rejected; or chosen and rejected alone, each a whole dialogue, as in Anthropic's HH.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where the reward model goes (DIR/model), its accuracies and its checkpoints.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option(help="The language model to start from: a bundled name, a hub id or a directory.")
    ] = "smollm2-135m-instruct",
    held_out: Annotated[
        Path | None,
        typer.Option(
            "--held-out",
            metavar="FILE",
            help="Pairs to measure accuracy on; what DATA has of their prompts is not trained on. Without it 10% of "
            "the prompts of DATA are held out.",
            show_default=False,
        ),
    ] = None,
    max_length: Annotated[
        int, typer.Option(min=8, help="Tokens of prompt and answer; longer pairs are left out and counted.")
    ] = 256,
    epochs: Annotated[float, typer.Option(min=0.001, help="Passes over the pairs.")] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs of one step.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Peak of the cosine schedule.")] = 3e-4,
    lora_r: Annotated[int, typer.Option(min=1, help="Rank of the adapters; alpha is twice that.")] = 8,
    lora_layers: Annotated[
        int, typer.Option(min=0, help="How many of the uppermost layers are adapted; 0 is all. Fewer are faster.")
    ] = 16,
    chat_template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A Jinja chat template in place of the model's own.", show_default=False),
    ] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 50,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, help="Of the order of the pairs and of the adapters' first weights."),
    ] = 0,
    device: Annotated[str, typer.Option(help="A torch device, or auto.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="Of the frozen weights: float32, bfloat16, or auto (bfloat16 where it is fast).")
    ] = "auto",
    strict: Annotated[bool, typer.Option(help="Exit with 2 when a row of DATA cannot be used.")] = False,
) -> None:
    """Train a reward model on preference pairs, and say how good it is on pairs that it never saw.

    The model learns, by low-rank adapters and a head of one output, to score the chosen answer above the
    rejected one. The table at the end has its accuracy on held-out prompts with a 95% interval, beside two
    checks on what it learned: how often the longer answer is the better one, and its accuracy where both
    answers are about as long.

    A training that was stopped goes on from its last checkpoint when the same command is given again. Use
    the result as a study's gold (gold: {model: DIR/model}), or as a reward: RM("DIR/model").
    """
    from proxygold.cli.training import run_reward_model_job

    raise typer.Exit(
        run_reward_model_job(
            data,
            out,
            held_out_file=held_out,
            chat_template_file=chat_template,
            strict=strict,
            settings={
                "model": model,
                "max_length": max_length,
                "epochs": epochs,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "lora_r": lora_r,
                "lora_alpha": 2 * lora_r,
                "lora_layers": lora_layers or None,
                "save_every": save_every,
                "seed": seed,
                "device": device,
                "dtype": dtype,
            },
        )
    )


@app.command(
    "query-types",
    epilog="[bold]Examples[/bold]\n\n"
    "proxygold train query-types labelled.jsonl --out my-types\n\n"
    "proxygold annotate prompts.jsonl --out typed.jsonl --classifier my-types",
)
def query_types(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            help="Labelled prompts: .jsonl, .jsonl.gz or .parquet. A row has prompt (text or messages) and query_type.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the classifier goes.", show_default=False)],
    labels: Annotated[str, typer.Option(metavar="COLUMN", help="The column with the types.")] = "query_type",
    encoder: Annotated[
        str, typer.Option(help="What embeds a query: a bundled name, a hub id or a directory.")
    ] = "all-minilm-l6-v2",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 2, help="Of the folds.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over the classifier in DIR.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when a row of DATA cannot be used.")] = False,
) -> None:
    """Train the local classifier of query types on prompts that somebody labelled, by hand or by an LLM.

    It is a logistic regression on an encoder's embedding of the query. How strongly it is regularised is chosen by
    cross-validation, and the accuracy that is printed is of prompts that it did not see.
    """
    from proxygold.cli.annotating import run_query_type_job

    raise typer.Exit(
        run_query_type_job(data, out, column=labels, encoder=encoder, seed=seed, overwrite=force, strict=strict)
    )
