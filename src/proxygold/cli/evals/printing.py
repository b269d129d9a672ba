"""An evaluation as a table for people at a terminal, and as tab-separated values for whatever it is piped into."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxygold.analysis.bootstrap import Estimate
from proxygold.evaluation.results import OVERALL, Difference, Evaluation, Metric, ModelResult
from proxygold.report.numbers import interval, measured

__all__ = ["print_evaluation"]


def print_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print the metrics of each model that are headlines, the differences, notes, and what was left out.

    Tab-separated with a header line where `console` (standard output if that is None) is no terminal, a line a metric;
    what is said beside the table then goes to standard error.
    """
    console = console or Console()
    if console.is_terminal:
        console.print(_metrics_table(evaluation))
        if any(difference.headline for difference in evaluation.differences):
            console.print()
            console.print(_differences_table(evaluation))
        remarks = console
    else:
        for line in _tab_separated(evaluation):
            console.file.write(line + "\n")
        remarks = Console(stderr=True)
    for line in _remarks(evaluation):
        remarks.print(Text(line, style="dim"), soft_wrap=not console.is_terminal)


def _shown(result: ModelResult) -> list[Metric]:
    return [metric for metric in result.metrics if metric.headline]


def _groups(result: ModelResult) -> Iterator[tuple[str, dict[str, Metric]]]:
    """The metrics of each group by name: of all items first, then in the order they are given."""
    order = list(dict.fromkeys([OVERALL, *(metric.group for metric in _shown(result))]))
    ranked = sorted(_shown(result), key=lambda metric: order.index(metric.group))
    for group, metrics in groupby(ranked, key=lambda metric: metric.group):
        yield group, {metric.name: metric for metric in metrics}


def _metrics_table(evaluation: Evaluation) -> Table:
    """A row for each model and group; a metric's interval stands below its value."""
    names = list(dict.fromkeys(metric.name for result in evaluation.models for metric in _shown(result)))
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(evaluation.benchmark)
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("scored", justify="right")
    for result in evaluation.models:
        if _shown(result) and all(metric.group != OVERALL for metric in _shown(result)):
            table.add_row(Text(result.model, style="bold"))
        for group, metrics in _groups(result):
            # Where metrics of one row are of different items, each says its own number.
            counts = {f"{metric.n_scored:,}/{metric.n_total:,}" for metric in metrics.values()}
            several = len(counts) > 1
            cells = [_cell(metrics.get(name), counted=several) for name in names]
            label = Text(result.model, style="bold") if group == OVERALL else Text(f"  {group}")
            table.add_row(label, *cells, "" if several else counts.pop())
    return table


def _cell(metric: Metric | None, *, counted: bool) -> Text:
    if metric is None:
        return Text("")
    estimate = Estimate(metric.value, metric.low, metric.high)
    lines = [measured(estimate), f"({interval(estimate)})" if metric.low == metric.low else ""]
    if counted:
        lines.append(f"{metric.n_scored:,}/{metric.n_total:,}")
    return Text("\n".join(line for line in lines if line))


def _differences_table(evaluation: Evaluation) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("differences", "metric", "", "95% interval", "n"):
        table.add_column(heading, justify="left" if heading in ("differences", "metric") else "right")
    for difference in evaluation.differences:
        if difference.headline:
            estimate = Estimate(difference.value, difference.low, difference.high)
            style = "bold" if difference.significant else ""
            table.add_row(
                Text(f"{difference.model} over {difference.baseline}"),
                Text(_labelled(difference)),
                Text(measured(estimate, sign=True), style=style),
                interval(estimate),
                f"{difference.n:,}",
            )
    return table


def _labelled(of: Metric | Difference) -> str:
    return of.name if of.group == OVERALL else f"{of.name}, {of.group}"


def _tab_separated(evaluation: Evaluation) -> Iterator[str]:
    """A header line, a line for each headline metric, and one for each difference, which has a baseline."""
    yield "\t".join(("model", "baseline", "group", "metric", "value", "low", "high", "n_scored", "n_total"))
    for result in evaluation.models:
        for metric in _shown(result):
            numbers = map(_number, (metric.value, metric.low, metric.high))
            counts = (str(metric.n_scored), str(metric.n_total))
            yield "\t".join((result.model, "", metric.group, metric.name, *numbers, *counts))
    for found in evaluation.differences:
        if found.headline:
            numbers = map(_number, (found.value, found.low, found.high))
            yield "\t".join((found.model, found.baseline, found.group, found.name, *numbers, *[str(found.n)] * 2))


def _number(value: float) -> str:
    return "" if value != value else f"{value:.6g}"  # NaN is the one number that differs from itself


def _remarks(evaluation: Evaluation) -> Iterator[str]:
    for result in evaluation.models:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.left_out.items() if count)
        if reasons:
            yield f"{result.model}: not scored: {reasons}"
    if evaluation.rejected:
        listed = "; ".join(evaluation.rejected[:3])
        yield f"rows of the data that could not be used: {len(evaluation.rejected):,}, all in results.json: {listed}"
    for note in evaluation.notes:
        yield f"Note: {note}"
    kinds = dict.fromkeys(
        metric.interval for result in evaluation.models for metric in _shown(result) if metric.interval
    )
    for kind in kinds:
        yield f"Intervals: {kind}."
