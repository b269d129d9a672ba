"""Options that the benchmarks of `eval` share. Their texts say the same thing in the same words everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AdapterOption",
    "BaselineOption",
    "BaseUrlOption",
    "BatchSizeOption",
    "CacheOption",
    "ConcurrencyOption",
    "DryRunOption",
    "DtypeOption",
    "EngineOption",
    "ForceOption",
    "JudgeOption",
    "LimitOption",
    "MaxCostOption",
    "ModelOption",
    "OutOption",
    "OutputsOption",
    "PriceInOption",
    "PriceOutOption",
    "PromptsOption",
    "QueryTypesOption",
    "RetriesOption",
    "SeedOption",
    "SystemOption",
    "TemplateOption",
    "TimeoutOption",
]

_ANSWERS, _JUDGE = "Whose answers", "The judge"

ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="[NAME=]MODEL",
        help="A model to evaluate: a bundled name, a directory, a checkpoint of a run, or a hub id. More than once to "
        "compare several.",
        rich_help_panel=_ANSWERS,
        show_default=False,
    ),
]
AdapterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="[NAME=]DIR",
        help="An adapter to put on the one --model. More than once to compare several.",
        rich_help_panel=_ANSWERS,
        show_default=False,
    ),
]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--outputs",
        metavar="[NAME=]FILE",
        help="Answers that exist already, in place of a model. More than once to compare several.",
        rich_help_panel=_ANSWERS,
        show_default=False,
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="The model that the others are compared with. Without it, each with each.",
        rich_help_panel=_ANSWERS,
        show_default=False,
    ),
]
TemplateOption = Annotated[
    str,
    typer.Option(
        "--template",
        metavar="NAME",
        help="How prompts are written: chat for the tokenizer's own, or alpaca, vicuna, hh, …",
        rich_help_panel=_ANSWERS,
    ),
]
SystemOption = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="TEXT",
        help="A system message for prompts that have none.",
        rich_help_panel=_ANSWERS,
        show_default=False,
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What writes answers: transformers, vllm, or auto (vllm when it is installed and there is a GPU).",
        rich_help_panel=_ANSWERS,
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="NAME",
        help="Of the weights: float32, bfloat16, or auto (bfloat16 where it is fast).",
        rich_help_panel=_ANSWERS,
    ),
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", min=1, help="Answers that are written at a time.", rich_help_panel=_ANSWERS)
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the sampling.", rich_help_panel=_ANSWERS)]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        metavar="SOURCE",
        help="What is asked: a file, a known data set, a hub id or builtin, as data.validation of a study. "
        "\\[default: alpaca_eval, or with --outputs alone the prompts in there]",
        show_default=False,
    ),
]
QueryTypesOption = Annotated[
    str | None,
    typer.Option(
        "--query-types",
        metavar="local",
        help="Give a type to every prompt without one, by the classifier that ships.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="The first so many items only, for a try.", show_default=False),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Where everything is written. \\[default: evals/BENCHMARK in the run that the checkpoints are of, else "
        "here]",
        show_default=False,
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Begin anew where --out has answers of other settings.")]

JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL|replay:PATH",
        help="The judge's name at the endpoint, or verdicts that were given before.",
        rich_help_panel=_JUDGE,
        show_default=False,
    ),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Any OpenAI-compatible endpoint. \\[default: $OPENAI_BASE_URL, else OpenAI's] The key is $OPENAI_API_KEY.",
        rich_help_panel=_JUDGE,
        show_default=False,
    ),
]
PriceInOption = Annotated[
    float | None,
    typer.Option(
        "--price-in", min=0, help="Price of a million tokens read.", rich_help_panel=_JUDGE, show_default=False
    ),
]
PriceOutOption = Annotated[
    float | None,
    typer.Option(
        "--price-out", min=0, help="Price of a million tokens written.", rich_help_panel=_JUDGE, show_default=False
    ),
]
MaxCostOption = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        min=0,
        help="Stop before this run spends more. Needs both prices.",
        rich_help_panel=_JUDGE,
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what the judge would be asked and cost; ask nothing.")
]
ConcurrencyOption = Annotated[
    int,
    typer.Option(
        "--concurrency", min=1, help="Requests at once; fewer when told to slow down.", rich_help_panel=_JUDGE
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds for one try.", rich_help_panel=_JUDGE)
]
RetriesOption = Annotated[
    int, typer.Option("--retries", min=0, help="Further tries of a request.", rich_help_panel=_JUDGE)
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="FILE",
        help="Where verdicts are kept. \\[default: llm.sqlite in proxygold's cache directory]",
        rich_help_panel=_JUDGE,
        show_default=False,
    ),
]
