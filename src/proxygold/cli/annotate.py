"""`proxygold annotate`: the query type of every row of a data file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["annotate"]


class By(StrEnum):
    """Who decides."""

    local = "local"
    llm = "llm"
    random = "random"


_LLM, _LOCAL, _RANDOM = "With --by llm", "With --by local", "With --by random"


def annotate(
    context: typer.Context,
    data: Annotated[
        Path, typer.Argument(help="JSONL (.jsonl, .jsonl.gz) or Parquet; a row has a prompt.", show_default=False)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Sent to the LLM as it is, such as max_completion_tokens=2000 or temperature=null (to send none).",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Where to write; the name says the format.", show_default=False)],
    by: Annotated[By, typer.Option(help="Who decides: the local classifier, an LLM, or chance.")] = By.local,
    name: Annotated[str, typer.Option(help="What the added field is called.")] = "query_type",
    compare_with: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|FILE",
            help="Another labelling to measure agreement with: a column of DATA, or a file with prompt and query_type.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when a row has no type.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over OUT if it exists.")] = False,
    model: Annotated[
        str | None, typer.Option(help="The model's name at the endpoint.", rich_help_panel=_LLM, show_default=False)
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Any OpenAI-compatible endpoint. \\[default: $OPENAI_BASE_URL, else OpenAI's] The key is "
            "$OPENAI_API_KEY.",
            rich_help_panel=_LLM,
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your own question, with {conversation} or {query} where they go; the answer must be open-ended or "
            "closed-ended.",
            rich_help_panel=_LLM,
            show_default=False,
        ),
    ] = None,
    price_in: Annotated[
        float | None,
        typer.Option(min=0, help="Price of a million tokens read.", rich_help_panel=_LLM, show_default=False),
    ] = None,
    price_out: Annotated[
        float | None,
        typer.Option(min=0, help="Price of a million tokens written.", rich_help_panel=_LLM, show_default=False),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0, help="Stop before this run spends more. Needs both prices.", rich_help_panel=_LLM, show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the estimate; ask nothing.", rich_help_panel=_LLM)
    ] = False,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests at once; fewer when told to slow down.", rich_help_panel=_LLM)
    ] = 16,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one try.", rich_help_panel=_LLM)] = 60.0,
    retries: Annotated[int, typer.Option(min=0, help="Further tries of a request.", rich_help_panel=_LLM)] = 5,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where answers are kept. \\[default: llm.sqlite in proxygold's cache directory]",
            rich_help_panel=_LLM,
            show_default=False,
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="One of your own, from `proxygold train query-types`. \\[default: the one that ships]",
            rich_help_panel=_LOCAL,
            show_default=False,
        ),
    ] = None,
    share: Annotated[float, typer.Option(min=0, max=1, help="How many are open-ended.", rich_help_panel=_RANDOM)] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the draw.", rich_help_panel=_RANDOM)] = 0,
) -> None:
    """Add `query_type` to every row: open_ended or closed_ended, which is what `branch` in a reward line asks.

    Open-ended: the answer can be relatively anything and creative. Closed-ended: it should be consistent and
    constrained. The type is that of the user's last query in `prompt` (text, or a list of messages).

    local needs no network, gives a `query_type_probability` of open-ended, and reads the last query alone. llm reads
    the whole conversation. Every answer is kept as it comes: after Ctrl-C the same command asks only what is missing. A
    refusal or an answer that is no label is listed in OUT.unlabelled.jsonl, and the row's type is null, never a guess.
    random is the paper's ablation.

    At the end stand the shares of both types, and with --compare-with the agreement, with 95% intervals.
    """
    from proxygold.cli.annotating import check_options, print_summary, run_annotation, run_llm_annotation
    from proxygold.data.query_type_pairs import other_labelling
    from proxygold.data.query_types import LocalAnnotator, RandomAnnotator
    from proxygold.models.query_type_classifier import load_classifier

    check_options(context, by)
    other = None if compare_with is None else other_labelling(compare_with, data)
    if by == By.llm:
        from proxygold.cli.annotating import llm_settings

        summary = run_llm_annotation(
            data,
            out,
            llm_settings(
                model, settings or [], cache, base_url=base_url, concurrency=concurrency, timeout=timeout,
                retries=retries, price_in=price_in, price_out=price_out, max_cost=max_cost,
            ),
            prompt,
            name=name,
            overwrite=force,
            dry_run=dry_run,
        )  # fmt: skip
        if summary is None:
            return
    else:
        annotator = RandomAnnotator(share, seed) if by == By.random else LocalAnnotator(load_classifier(classifier))
        summary = run_annotation(data, out, annotator, name=name, overwrite=force)
    print_summary(summary, name, other)
    if strict and (summary.rejected or summary.unlabelled):
        raise typer.Exit(2)
