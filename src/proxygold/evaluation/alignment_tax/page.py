"""The trade-off of the alignment tax as a page with one figure, and as a table with a row for each model."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from proxygold.analysis.bootstrap import Estimate
from proxygold.evaluation.alignment_tax.benchmark import FREE, GAINS, LOSES, PAYS, RELEVANCE, TASKS, TradeOff
from proxygold.evaluation.results import Difference, Metric
from proxygold.report.charts import Figure, chart
from proxygold.report.figure_page import PageFigure, write_figure_page
from proxygold.report.numbers import interval, measured, number
from proxygold.whole_files import write_whole

__all__ = ["trade_off_figure", "write_trade_off"]

_CHECKPOINT = re.compile(r"(?P<training>.+)/step-(?P<step>\d+)")
# Colour and marker by verdict: they differ in shape too, not in colour alone.
_STYLES = {PAYS: ("over", "triangle-down"), LOSES: ("over", "x"), FREE: ("success", "circle")}
_OTHER, _BASELINE = ("muted", "diamond"), ("text", "square")
# What is put into the table, and what the page calls it.
_COLUMNS = {
    GAINS[0]: "AlpacaEval win rate",
    GAINS[1]: "length-controlled",
    RELEVANCE[0]: "relevant sentences, by the judge",
    RELEVANCE[1]: "relevant sentences, by the encoder",
    TASKS[0]: "SuperNI ROUGE-L",
}


def write_trade_off(directory: Path, found: Sequence[TradeOff]) -> dict[str, str]:
    """Write trade_off.html and trade_off.csv of models, the baseline first. Returns what they are and where.

    Raises ConfigError when plotly or jinja2, which make the page, are missing.
    """
    table, page = directory / "trade_off.csv", directory / "trade_off.html"
    write_whole(table, _csv(found))
    shown = [name for name in _COLUMNS if any(name in each.metrics for each in found)]
    baseline = found[0].model
    figure = PageFigure(
        "Preferred answers against tasks",
        trade_off_figure(found),
        "To the right: preferred more often. Down: tasks done worse. Bars are 95% intervals of each model by itself; "
        "whether a model differs from the baseline is told by the paired differences, in the table.",
        ("model", f"against {baseline}", *(heading for name in shown for heading in _headings(name, baseline))),
        [
            [each.model, each.verdict or "the baseline", *(cell for name in shown for cell in _cells(each, name))]
            for each in found
        ],
    )
    write_figure_page(
        page,
        "The alignment tax",
        [figure],
        about=f"What being preferred costs in tasks, for each model against {baseline}.",
    )
    return {"trade-off": str(page), "trade-off, a row for each model": str(table)}


def trade_off_figure(found: Sequence[TradeOff]) -> Figure:
    """Win rate to the right, ROUGE-L up, a point with its intervals for each model; dashed lines at the baseline's.

    A thin line leads from the baseline to each model, and along the checkpoints of one training in the order of their
    steps.
    """
    placed = [each for each in found if GAINS[0] in each.metrics and TASKS[0] in each.metrics]
    baseline = placed[0] if placed and not placed[0].verdict else None
    data: list[Figure] = [] if baseline is None else [_path([baseline, *some]) for some in _trainings(placed[1:])]
    data += [_point(each, is_baseline=each is baseline) for each in placed]
    figure = chart(data, x_title="AlpacaEval win rate (%)", y_title="SuperNI ROUGE-L", height=480)
    figure["layout"]["hovermode"] = "closest"
    figure["layout"]["xaxis"]["showgrid"] = True
    if baseline is not None:
        x, y = (baseline.metrics[name].value for name in (GAINS[0], TASKS[0]))
        dashed: Figure = {"type": "line", "layer": "below", "line": {"color": "@axis", "width": 1, "dash": "dash"}}
        figure["layout"]["shapes"] = [
            {**dashed, "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1},
            {**dashed, "y0": y, "y1": y, "xref": "paper", "x0": 0, "x1": 1},
        ]
    return figure


def _trainings(found: Sequence[TradeOff]) -> list[list[TradeOff]]:
    """The models, the checkpoints of one training together and in the order of their steps."""
    trainings: dict[str, list[tuple[int, TradeOff]]] = {}
    for each in found:
        checkpoint = _CHECKPOINT.fullmatch(each.model)
        name, step = (checkpoint["training"], int(checkpoint["step"])) if checkpoint else (each.model, 0)
        trainings.setdefault(name, []).append((step, each))
    return [[each for _, each in sorted(models, key=lambda item: item[0])] for models in trainings.values()]


def _path(models: Sequence[TradeOff]) -> Figure:
    return {
        "x": [each.metrics[GAINS[0]].value for each in models],
        "y": [each.metrics[TASKS[0]].value for each in models],
        "mode": "lines",
        "line": {"color": "@axis", "width": 1},
        "hoverinfo": "skip",
    }


def _point(each: TradeOff, *, is_baseline: bool) -> Figure:
    colour, symbol = _BASELINE if is_baseline else _STYLES.get(each.verdict, _OTHER)
    gain, tasks = each.metrics[GAINS[0]], each.metrics[TASKS[0]]
    return {
        "x": [gain.value],
        "y": [tasks.value],
        "error_x": _bars(gain, colour),
        "error_y": _bars(tasks, colour),
        "mode": "markers+text",
        "name": escape(each.model),  # plotly reads tags
        "text": [escape(each.model)],
        "textposition": "top right",
        "marker": {"color": f"@{colour}", "size": 10, "symbol": symbol},
        "hovertemplate": f"win rate {_cell(gain)}<br>ROUGE-L {_cell(tasks)}<br>{each.verdict or 'the baseline'}",
    }


def _bars(metric: Metric, colour: str) -> Figure:
    if metric.low != metric.low:  # NaN: no interval
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": [metric.high - metric.value],
        "arrayminus": [metric.value - metric.low],
        "color": f"@{colour}",
        "thickness": 1.25,
        "width": 4,
    }


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return number(None)
    estimate = Estimate(metric.value, metric.low, metric.high)
    return f"{measured(estimate)} ({interval(estimate)})"


def _headings(name: str, baseline: str) -> tuple[str, str]:
    return _COLUMNS[name], f"over {baseline}"


def _cells(each: TradeOff, name: str) -> tuple[str, str]:
    difference = each.differences.get(name)
    return _cell(each.metrics.get(name)), "" if difference is None else _signed(difference)


def _signed(difference: Difference) -> str:
    estimate = Estimate(difference.value, difference.low, difference.high)
    return f"{measured(estimate, sign=True)} ({interval(estimate)})"


def _csv(found: Sequence[TradeOff]) -> str:
    names = [name for name in _COLUMNS if any(name in each.metrics for each in found)]
    header = ["model"]
    for name in names:
        header += [name, f"{name}_low", f"{name}_high", f"{name}_n"]
        header += [f"{name}_over_baseline", f"{name}_over_baseline_low", f"{name}_over_baseline_high"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, "verdict"])
    for each in found:
        row: list[str | float | int] = [each.model]
        for name in names:
            metric, difference = each.metrics.get(name), each.differences.get(name)
            row += ["", "", "", ""] if metric is None else [metric.value, metric.low, metric.high, metric.n_scored]
            row += ["", "", ""] if difference is None else [difference.value, difference.low, difference.high]
        writer.writerow(["" if cell != cell else cell for cell in (*row, each.verdict)])
    return text.getvalue()
