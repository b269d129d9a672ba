"""What `annotate` does with its options and prints: the estimate, the shares, the agreement, what was left out.

Query types and reference answers go the same way; only what is asked and what is counted differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from proxygold.cli.llm_parameters import read_parameters
from proxygold.data.annotation import AnnotationSummary, Annotator, annotate_file, start_annotation
from proxygold.data.files import count_rows
from proxygold.data.hub import is_hub_name
from proxygold.data.llm_asking import LLMAsker, read_prompt
from proxygold.data.published import PUBLISHED
from proxygold.data.query_type_llm import DEFAULT_PROMPT, LLMAnnotator
from proxygold.data.query_type_pairs import OtherLabels, pair_labels
from proxygold.data.query_types import read_labelled_queries
from proxygold.data.references import ReferenceAnnotator
from proxygold.data.source_settings import SourceSettings, parse_source
from proxygold.errors import ConfigError, StoreError
from proxygold.llm import LLM, LLMSettings
from proxygold.models.bundled import cache_directory
from proxygold.records import CLOSED_ENDED, OPEN_ENDED

__all__ = [
    "check_options",
    "find_data",
    "llm_settings",
    "print_references",
    "print_summary",
    "run_annotation",
    "run_llm_annotation",
    "run_query_type_job",
]

# Which options mean something only with which annotator.
_OPTIONS_OF = {
    "llm": [
        *("settings", "model", "base_url", "prompt", "price_in", "price_out", "max_cost", "dry_run"),
        *("concurrency", "timeout", "retries", "cache"),
    ],
    "local": ["classifier"],
    "random": ["share", "seed"],
}
# Which have no meaning with --references, beside those of another annotator than the LLM.
_NOT_OF_REFERENCES = ("compare_with",)
# For a type one word is asked for; a model that thinks first needs more.
_PARAMETERS = {"temperature": 0, "max_tokens": 16}
_REFERENCE_PARAMETERS = {"temperature": 0, "max_tokens": 1024}


def check_options(context: typer.Context, by: str, references: bool) -> None:
    """Raises ConfigError for an option that the chosen annotator would not read."""

    def is_given(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    if references:
        if is_given("by") and by != "llm":
            raise ConfigError(f"references are written by an LLM, and this is --by {by}. Leave one of them out.")
        for name in _NOT_OF_REFERENCES:
            if is_given(name):
                raise ConfigError(f"--{name.replace('_', '-')} is for query types, not for --references. Leave it out.")
        by = "llm"
    for other, names in _OPTIONS_OF.items():
        for name in names:
            if other != by and is_given(name):
                given = " ".join(context.params[name]) if name == "settings" else f"--{name.replace('_', '-')}"
                this = "with --references" if references else f"--by {by}"
                raise ConfigError(f"{given} is for --by {other}, and this is {this}. Leave one of them out.")


def find_data(given: str, form: str | None) -> Path | SourceSettings:
    """What DATA means: a file with our own fields, a known data set, one of the hub, or a file in a published `form`.

    Raises ConfigError for a form that is not known, or does not fit.
    """
    if form is not None:
        return parse_source({"source": given, "name": form})
    return parse_source(given) if given in PUBLISHED or is_hub_name(given) else Path(given)


def llm_settings(
    model: str | None, given: Sequence[str], cache: Path | None, *, references: bool, **settings: Any
) -> LLMSettings:
    """The endpoint, out of the options. Raises ConfigError for one that is wrong or missing."""
    if model is None:
        what = "--references" if references else "--by llm"
        raise ConfigError(f"{what} needs --model NAME, the model's name at the endpoint, such as gpt-4.1-mini.")
    return LLMSettings(
        model=model,
        parameters=read_parameters(given, _REFERENCE_PARAMETERS if references else _PARAMETERS),
        cache=cache or cache_directory() / "llm.sqlite",
        **settings,
    )


def run_annotation(
    data: Path | SourceSettings, out: Path, annotator: Annotator, *, name: str, overwrite: bool
) -> AnnotationSummary:
    """Annotate a file, with a bar."""
    with _bar(lambda: count_rows(data) if isinstance(data, Path) else None, data) as advance:
        return annotate_file(data, out, annotator, name=name, overwrite=overwrite, advance=advance)


def run_llm_annotation(
    data: Path | SourceSettings,
    out: Path,
    settings: LLMSettings,
    prompt: Path | None,
    *,
    name: str,
    references: bool,
    overwrite: bool,
    dry_run: bool,
) -> AnnotationSummary | None:
    """Print the estimate, then ask, unless it is a dry run (None). Raises JudgeError with what is answered kept."""
    question = None if prompt is None else read_prompt(prompt)
    with LLM(settings) as llm:
        steps: list[Callable[[int], None]] = []

        def answered(index: int) -> None:
            steps[0](1)

        annotator: LLMAsker = (
            ReferenceAnnotator(llm, question, answered)
            if references
            else LLMAnnotator(llm, question or DEFAULT_PROMPT, answered)
        )
        start_annotation(data, out, annotator, name=name, overwrite=overwrite)  # before anything is paid for
        estimate = annotator.estimate_file(data, name)
        print("\n".join(estimate.sentences()))
        if dry_run:
            return None
        with _bar(lambda: estimate.rows, data) as advance:
            steps.append(advance)
            try:
                summary = annotate_file(data, out, annotator, name=name, overwrite=overwrite)
            finally:
                spent = llm.spent
        cost = "" if spent.cost is None else f", {spent.cost:.4g} spent"
        print(
            f"asked {settings.model}: {_count(spent.calls, 'call')}, {spent.cached:,} answered before, "
            f"{spent.prompt_tokens:,} tokens in, {spent.completion_tokens:,} out{cost}"
        )
        return summary


def print_summary(summary: AnnotationSummary, name: str, other: OtherLabels | str | None = None) -> None:
    """Say what was written, the share of each type, the agreement with `other`, and which rows have no type."""
    typed, without = summary.labels.total(), summary.unlabelled.total()
    print(f"wrote {summary.written}: {_count(typed + without, 'row')}, {typed:,} with a {name}")
    for kind in (OPEN_ENDED, CLOSED_ENDED):
        share = summary.labels[kind] / typed if typed else 0.0
        print(f"  {kind:<13} {share:6.1%}  {summary.labels[kind]:,}")
    if other is not None:
        _print_agreement(summary, name, other)
    _print_left_out(summary, "type")


def print_references(summary: AnnotationSummary, name: str) -> None:
    """Say what was written, how many references are new, and which rows have none."""
    without = summary.unlabelled.total()
    print(f"wrote {summary.written}: {_count(summary.labels.total() + without, 'row')}")
    print(f"  {summary.labels['written']:,} with a new {name}")
    print(f"  {summary.labels['kept']:,} had one before")
    _print_left_out(summary, name)


def _print_left_out(summary: AnnotationSummary, what: str) -> None:
    without = summary.unlabelled.total()
    if without:
        kinds = ", ".join(f"{number:,} x {kind}" for kind, number in summary.unlabelled.most_common())
        print(f"{_count(without, 'row')} without a {what} ({kinds}), listed in {summary.unlabelled_file}:")
        _print_first(summary.first_unlabelled, without)
        if summary.unlabelled["no answer"]:
            print("the same command with --force asks again for what got no answer, and for nothing else")
    if summary.rejected:
        print(f"{_count(summary.rejected, 'row')} rejected, listed in {summary.rejected_file}:")
        _print_first(list(map(str, summary.first_rejected)), summary.rejected)


def run_query_type_job(
    files: Sequence[Path], out: Path, *, column: str, encoder: str, seed: int, overwrite: bool, strict: bool
) -> int:
    """Train a classifier of query types, print what it is worth, and return the exit code: 2 under `strict` when a row
    was unusable, else 0. Raises StoreError when there is one already, and what `train_query_types` raises."""
    from proxygold.models.encoder import EncoderSettings
    from proxygold.models.query_type_classifier import CLASSIFIER_FILE
    from proxygold.training.query_types import train_query_types

    if (out / CLASSIFIER_FILE).exists() and not overwrite:
        raise StoreError(f"{out} has a classifier already. Give another directory, or --force to write over it.")
    queries, rejected = [], []
    for file in files:
        some, bad = read_labelled_queries(file, column)
        queries += some
        rejected += bad
    _, result = train_query_types(
        queries, out, encoder=EncoderSettings(encoder, normalize=True, truncation_side="right"), seed=seed
    )
    print(f"trained on {result.n:,} different queries, {result.open_ended / result.n:.1%} of them open-ended")
    print(
        f"accuracy on queries not seen {result.accuracy:.1%} (95% interval {result.low:.1%} to {result.high:.1%}); "
        f"{result.majority:.1%} by always saying the commoner type"
    )
    for kind, share in result.by_type.items():
        print(f"  {kind:<13} {share:6.1%} recognised")
    if rejected:
        print(f"{_count(len(rejected), 'row')} could not be used:")
        _print_first(list(map(str, rejected[:5])), len(rejected))
    print(f"classifier  {out}")
    return 2 if strict and rejected else 0


def _print_agreement(summary: AnnotationSummary, name: str, other: OtherLabels | str) -> None:
    from proxygold.analysis.agreement import measure_agreement

    pairs = pair_labels(summary.written, name, other)
    found = measure_agreement(pairs.ours, pairs.theirs)
    missing = f"; {_count(pairs.unpaired, 'row')} without both" if pairs.unpaired else ""
    kappa = f"{found.kappa:.2f} ({found.kappa_low:.2f} to {found.kappa_high:.2f})"
    if math.isnan(found.kappa):
        kappa = "undefined, since only one type was given"
    print(
        f"agreement {found.agree:.1%} (95% interval {found.agree_low:.1%} to {found.agree_high:.1%}), Cohen's kappa "
        f"{kappa}, on {_count(found.n, 'row')}{missing}"
    )
    for (ours, theirs), number in found.counts.items():
        if ours != theirs:
            print(f"  {number:,} {ours} here, {theirs} there")


def _print_first(lines: Sequence[str], total: int) -> None:
    for line in lines:
        print(f"  {line}")
    if total > len(lines):
        print(f"  and {total - len(lines):,} more")


@contextmanager
def _bar(total: Callable[[], int | None], data: Path | SourceSettings) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, if that is a terminal; nothing otherwise."""
    console = Console(stderr=True)
    if not console.is_terminal or (isinstance(data, Path) and not data.is_file()):
        yield lambda rows: None
        return
    columns = (TextColumn("annotating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("annotating", total=total())
        yield lambda rows: bar.advance(task, rows)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
