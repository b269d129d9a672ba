"""What `annotate` does with its options and prints: the estimate, the shares, the agreement, what was left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from proxygold.data.files import count_rows
from proxygold.data.query_type_llm import DEFAULT_PROMPT, Estimate, LLMAnnotator, read_prompt
from proxygold.data.query_type_pairs import OtherLabels, pair_labels
from proxygold.data.query_types import (
    AnnotationSummary,
    Annotator,
    annotate_file,
    read_labelled_queries,
    start_annotation,
)
from proxygold.errors import ConfigError, StoreError
from proxygold.llm import LLM, LLMSettings
from proxygold.models.bundled import cache_directory
from proxygold.records import CLOSED_ENDED, OPEN_ENDED

__all__ = [
    "check_options",
    "llm_settings",
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
# One word is asked for; a model that thinks first needs more.
_PARAMETERS = {"temperature": 0, "max_tokens": 16}


def check_options(context: typer.Context, by: str) -> None:
    """Raises ConfigError for an option that the chosen annotator would not read."""
    for other, names in _OPTIONS_OF.items():
        for name in names:
            source = context.get_parameter_source(name)
            if other != by and source is not None and source.name == "COMMANDLINE":
                given = " ".join(context.params[name]) if name == "settings" else f"--{name.replace('_', '-')}"
                raise ConfigError(f"{given} is for --by {other}, and this is --by {by}. Leave one of them out.")


def llm_settings(model: str | None, given: Sequence[str], cache: Path | None, **settings: Any) -> LLMSettings:
    """The endpoint, out of the options. Raises ConfigError for one that is wrong or missing."""
    if model is None:
        raise ConfigError("--by llm needs --model NAME, the model's name at the endpoint, such as gpt-4.1-mini.")
    return LLMSettings(
        model=model, parameters=_parameters(given), cache=cache or cache_directory() / "llm.sqlite", **settings
    )


def _parameters(given: Sequence[str]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not key.strip() or not equals:
            raise ConfigError(f"{setting!r} is no setting. Write KEY=VALUE, such as max_completion_tokens=2000.")
        try:
            chosen[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of {setting!r} cannot be read as YAML: {error}") from error
    defaults = {
        key: value
        for key, value in _PARAMETERS.items()
        if not (key == "max_tokens" and chosen.get("max_completion_tokens") is not None)
    }
    return {key: value for key, value in (defaults | chosen).items() if value is not None}


def run_annotation(data: Path, out: Path, annotator: Annotator, *, name: str, overwrite: bool) -> AnnotationSummary:
    """Annotate a file, with a bar."""
    with _bar(lambda: count_rows(data), data) as advance:
        return annotate_file(data, out, annotator, name=name, overwrite=overwrite, advance=advance)


def run_llm_annotation(
    data: Path,
    out: Path,
    settings: LLMSettings,
    prompt: Path | None,
    *,
    name: str,
    overwrite: bool,
    dry_run: bool,
) -> AnnotationSummary | None:
    """Print the estimate, then ask, unless it is a dry run (None). Raises JudgeError with what is answered kept."""
    question = DEFAULT_PROMPT if prompt is None else read_prompt(prompt)
    with LLM(settings) as llm:
        steps: list[Callable[[int], None]] = []
        annotator = LLMAnnotator(llm, question, lambda index: steps[0](1))
        start_annotation(data, out, annotator, name=name, overwrite=overwrite)  # before anything is paid for
        estimate = annotator.estimate_file(data)
        _print_estimate(estimate, settings)
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
    typed, without = summary.types.total(), summary.unlabelled.total()
    print(f"wrote {summary.written}: {_count(typed + without, 'row')}, {typed:,} with a {name}")
    for kind in (OPEN_ENDED, CLOSED_ENDED):
        share = summary.types[kind] / typed if typed else 0.0
        print(f"  {kind:<13} {share:6.1%}  {summary.types[kind]:,}")
    if other is not None:
        _print_agreement(summary, name, other)
    if without:
        kinds = ", ".join(f"{number:,} x {kind}" for kind, number in summary.unlabelled.most_common())
        print(f"{_count(without, 'row')} without a type ({kinds}), listed in {summary.unlabelled_file}:")
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


def _print_estimate(estimate: Estimate, settings: LLMSettings) -> None:
    print(
        f"{_count(estimate.rows, 'row')}, {estimate.distinct:,} different, {estimate.answered:,} answered before: "
        f"{_count(estimate.to_ask, 'request')} to {settings.model} at {settings.endpoint()}"
    )
    if not estimate.to_ask:
        return
    out = "answers of any length" if estimate.tokens_out is None else f"at most {estimate.tokens_out:,} out"
    cost = ""
    if estimate.cost is not None:
        cost = f": {'at least' if estimate.tokens_out is None else 'at most about'} {estimate.cost:.4g}"
        if settings.max_cost is not None and estimate.cost > settings.max_cost:
            cost += f", and the run stops at {settings.max_cost:g}"
    print(f"about {estimate.tokens_in:,} tokens in, {out}{cost}")


def _print_first(lines: Sequence[str], total: int) -> None:
    for line in lines:
        print(f"  {line}")
    if total > len(lines):
        print(f"  and {total - len(lines):,} more")


@contextmanager
def _bar(total: Callable[[], int], data: Path) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, if that is a terminal; nothing otherwise."""
    console = Console(stderr=True)
    if not console.is_terminal or not data.is_file():
        yield lambda rows: None
        return
    columns = (TextColumn("annotating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("annotating", total=total())
        yield lambda rows: bar.advance(task, rows)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
