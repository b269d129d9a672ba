"""`proxygold train`: one training job on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "query_types", "reward_model", "sft"]

app = typer.Typer(no_args_is_help=True, help="Train one model on its own.")


@app.callback()
def train() -> None:
    """Train one model on its own."""


@app.command(
    "sft",
    epilog="[bold]Examples[/bold]\n\n"
    "proxygold train sft answers.jsonl --out sft --model HuggingFaceTB/SmolLM2-135M --template alpaca\n\n"
    "proxygold train sft hh/train.jsonl.gz --held-out hh/test.jsonl.gz --out sft --model meta-llama/Llama-2-7b-hf "
    "--template hh --lora-r 16 quantization=4bit gradient_checkpointing=true\n\n"
    "proxygold train sft --config sft.yaml out=another learning_rate=1e-5\n\n"
    "accelerate launch --num_processes 8 -m proxygold train sft --config sft.yaml",
)
def sft(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA|KEY=VALUE",
            help="Files (.jsonl, .jsonl.gz, .jsonl.zst, .parquet), directories, patterns in quotes, hub:NAME\\[:SPLIT] "
            "or a known data set; and settings, such as learning_rate=1e-5.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where the model goes (DIR/model), its log and its checkpoints.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Settings as YAML; what is typed is put over them.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The language model to start from: a bundled name, a hub id or a directory. "
            "\\[default: smollm2-135m-instruct]",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="How prompts are written: chat for the tokenizer's own, or alpaca, vicuna, hh, … \\[default: chat]",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="FILE",
            help="Rows to measure the loss on; what DATA has of their prompts is not trained on. Without it 2% of the "
            "prompts are held out.",
            show_default=False,
        ),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="The column with the answer: completion, reference, chosen or messages. Needed where rows have more "
            "than one of them.",
            show_default=False,
        ),
    ] = None,
    learn: Annotated[
        str | None,
        typer.Option(
            help="The last answer of a conversation, or all of the assistant's. \\[default: last]", show_default=False
        ),
    ] = None,
    lora_r: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train an adapter of this rank (alpha is twice that) in place of all weights.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the rows. \\[default: 3]", show_default=False)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when a row of DATA cannot be used.")] = False,
) -> None:
    """Fine-tune a language model on given answers: the start policy of a study.

    A row has prompt (text or messages) and its answer as completion or reference; or messages, a conversation that
    ends with the assistant's turn; or chosen, a whole dialogue as in Anthropic's HH. Only answers are learned, each
    with the token that ends it, and prompts are written as the policy reads them later.

    Other settings are typed as key=value: lora.r, lora.alpha, lora.dropout, lora.target_modules, lora.layers,
    quantization (none, 8bit or 4bit), gradient_checkpointing, device, dtype, system_prompt, max_length, held_out (a
    share), max_steps, batch_size, gradient_accumulation_steps, learning_rate, warmup_ratio, weight_decay,
    max_grad_norm, save_every, limit, seed. Defaults are the paper's: all weights, 3 epochs, 2e-5 on a cosine, 2 rows
    with an accumulation of 8, 2048 tokens.

    The loss on held-out answers is measured before and after. A training that was stopped goes on from its last
    checkpoint when the same command is given again.
    """
    from proxygold.cli.fine_tuning import load_job, run_sft_job

    lora = None if lora_r is None else {"lora.r": lora_r, "lora.alpha": 2 * lora_r}
    options = {
        "out": out,
        "model": model,
        "prompt_template": template,
        "held_out_data": held_out,
        "answers": answers,
        "learn": learn,
        "epochs": epochs,
        **(lora or {}),
    }
    raise typer.Exit(run_sft_job(load_job(config, words or [], options), strict=strict))


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
