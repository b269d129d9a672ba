"""`proxygold annotate`: the query type of every row of a data file, or a reference answer to it."""

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


_LLM, _LOCAL, _RANDOM = "With --by llm and --references", "With --by local", "With --by random"


def annotate(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            help="JSONL, a JSON array or Parquet, where a row has a prompt; or a known data set (hh_helpful, "
            "alpaca_farm, …), or hub:OWNER/NAME:SPLIT.",
            show_default=False,
        ),
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
    form: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The known data set in whose published form the file DATA is.", show_default=False
        ),
    ] = None,
    references: Annotated[
        bool, typer.Option("--references", help="Add reference answers by an LLM instead of query types.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(help="What the added field is called. \\[default: query_type, or reference]", show_default=False),
    ] = None,
    compare_with: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN|FILE",
            help="Another labelling to measure agreement with: a column of DATA, or a file with prompt and query_type.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 when a row got nothing.")] = False,
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
            help="Your own question, with {conversation} or {query} where they go; for query types, the answer must be "
            "open-ended or closed-ended. Without it, --references sends the conversation as it is.",
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

    With --references the LLM answers each prompt instead, and its answer becomes the `reference` that AR and RER
    measure against. A row that has a reference keeps it. A refusal, and an answer that was cut off at max_tokens (1,024
    unless you set it), is listed in OUT.unlabelled.jsonl, and the row's reference is null.
    """
    from proxygold.cli.annotating import (
        check_options,
        find_data,
        print_references,
        print_summary,
        run_annotation,
        run_llm_annotation,
    )
    from proxygold.data.query_type_pairs import other_labelling
    from proxygold.data.query_types import LocalAnnotator, RandomAnnotator
    from proxygold.data.references import REFERENCE
    from proxygold.models.query_type_classifier import load_classifier

    check_options(context, by, references)
    name = name or (REFERENCE if references else "query_type")
    source = find_data(data, form)
    other = None if compare_with is None else other_labelling(compare_with, source)
    if by == By.llm or references:
        from proxygold.cli.annotating import llm_settings

        summary = run_llm_annotation(
            source,
            out,
            llm_settings(
                model, settings or [], cache, references=references, base_url=base_url, concurrency=concurrency,
                timeout=timeout, retries=retries, price_in=price_in, price_out=price_out, max_cost=max_cost,
            ),
            prompt,
            name=name,
            references=references,
            overwrite=force,
            dry_run=dry_run,
        )  # fmt: skip
        if summary is None:
            return
    else:
        annotator = RandomAnnotator(share, seed) if by == By.random else LocalAnnotator(load_classifier(classifier))
        summary = run_annotation(source, out, annotator, name=name, overwrite=force)
    if references:
        print_references(summary, name)
    else:
        print_summary(summary, name, other)
    if strict and (summary.rejected or summary.unlabelled):
        raise typer.Exit(2)
