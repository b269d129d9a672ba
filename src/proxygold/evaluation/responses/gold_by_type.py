"""Gold by query type as a figure (Figure 4 of the paper): what a policy gains, and on which kind of query.

Bars of several models; or lines by training step, where the models are checkpoints of one training or of several.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from proxygold.analysis.bootstrap import Estimate
from proxygold.evaluation.results import OVERALL, Metric
from proxygold.records import CLOSED_ENDED, OPEN_ENDED
from proxygold.report.charts import OTHER_TYPE, QUERY_TYPE_STYLES, Figure, chart
from proxygold.report.figure_page import PageFigure, write_figure_page
from proxygold.report.numbers import interval, measured

__all__ = ["gold_figures", "write_gold_figures"]

# A checkpoint's name, as `subjects.model_name` makes it: what was trained, and the step.
_CHECKPOINT = re.compile(r"(?P<training>.+)/step-(?P<step>\d+)")
_DASHES = ("solid", "dash", "dot", "longdash", "dashdot")


def write_gold_figures(path: Path, metrics: Mapping[str, Sequence[Metric]]) -> None:
    """Write the page of `gold_figures`. Raises ConfigError when plotly or jinja2 is missing."""
    write_figure_page(
        path,
        "Gold by query type",
        gold_figures(metrics),
        about="The gold reward's mean over answers to each type of query, with 95% bootstrap intervals over prompts.",
    )


def gold_figures(metrics: Mapping[str, Sequence[Metric]]) -> list[PageFigure]:
    """One figure of each model's gold metrics, one a query type: their groups are `query_type=…`, or OVERALL."""
    rows = [
        [model, _label(metric.group), measured(_estimate(metric)), interval(_estimate(metric)), _count(metric)]
        for model, found in metrics.items()
        for metric in found
    ]
    trainings = _trainings(list(metrics))
    figure = _bars(metrics) if trainings is None else _lines(metrics, trainings)
    title = "Gold by model and query type" if trainings is None else "Gold by training step and query type"
    return [PageFigure(title, figure, columns=("model", "queries", "gold", "95% interval", "scored"), rows=rows)]


def _trainings(models: Sequence[str]) -> dict[str, dict[int, str]] | None:
    """The models of each training by step, if all are checkpoints and one of them has several."""
    found: dict[str, dict[int, str]] = {}
    for model in models:
        checkpoint = _CHECKPOINT.fullmatch(model)
        if checkpoint is None:
            return None
        found.setdefault(checkpoint["training"], {})[int(checkpoint["step"])] = model
    return found if any(len(steps) > 1 for steps in found.values()) else None


def _bars(metrics: Mapping[str, Sequence[Metric]]) -> Figure:
    """Query types along the axis as in the paper, a bar each model; models differ in how filled their bars are."""
    data: list[Figure] = []
    for place, (model, found) in enumerate(metrics.items()):
        data.append(
            {
                "type": "bar",
                "name": model,
                "x": [_label(metric.group) for metric in found],
                "y": [_plain(metric.value) for metric in found],
                "error_y": {**_errors(found), "color": "@text", "thickness": 1, "width": 3},
                "marker": {
                    "color": ("@gold", "@proxy", "@open", "@closed", "@muted")[place % 5],
                    "pattern": {"shape": ("", "/", ".", "x", "-", "\\", "|", "+")[place % 8]},
                },
                "hovertemplate": "%{y:.4g}",
            }
        )
    figure = chart(data, x_title="", y_title="gold", height=320, legend=True)
    figure["layout"] |= {"barmode": "group", "hovermode": "closest"}
    return figure


def _lines(metrics: Mapping[str, Sequence[Metric]], trainings: Mapping[str, Mapping[int, str]]) -> Figure:
    """Gold by step: a line each training and query type; types differ in colour and marker, trainings in dash."""
    data: list[Figure] = []
    groups = list(dict.fromkeys(metric.group for found in metrics.values() for metric in found))
    for place, (training, by_step) in enumerate(trainings.items()):
        for group in groups:
            at = {
                step: metric
                for step, model in sorted(by_step.items())
                for metric in metrics[model]
                if metric.group == group
            }
            colour, _, marker = QUERY_TYPE_STYLES.get(_query_type(group), OTHER_TYPE)
            data.append(
                {
                    "name": f"{training}, {_label(group)}",
                    "x": list(at),
                    "y": [_plain(metric.value) for metric in at.values()],
                    "error_y": {**_errors(list(at.values())), "color": f"@{colour}", "thickness": 1, "width": 3},
                    "mode": "lines+markers",
                    "line": {"color": f"@{colour}", "width": 2, "dash": _DASHES[place % len(_DASHES)]},
                    "marker": {"color": f"@{colour}", "size": 7, "symbol": marker},
                    "hovertemplate": "%{y:.4g}",
                }
            )
    return chart(data, x_title="training step", y_title="gold", height=360, legend=True)


def _errors(metrics: Sequence[Metric]) -> Figure:
    """How far intervals reach above and below the values, as plotly wants them."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_plain(metric.high - metric.value) for metric in metrics],
        "arrayminus": [_plain(metric.value - metric.low) for metric in metrics],
    }


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if value == value else None  # NaN becomes a gap


def _query_type(group: str) -> str:
    return group.partition("=")[2]


def _label(group: str) -> str:
    names = {OPEN_ENDED: "open-ended", CLOSED_ENDED: "closed-ended"}
    return "all" if group == OVERALL else names.get(_query_type(group), _query_type(group))


def _count(metric: Metric) -> str:
    return f"{metric.n_scored:,}/{metric.n_total:,}"


def _estimate(metric: Metric) -> Estimate:
    return Estimate(metric.value, metric.low, metric.high)
