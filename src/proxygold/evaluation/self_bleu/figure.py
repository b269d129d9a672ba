"""The paper's Figure 5: Self-BLEU of each model by query type, as boxes over the prompts.

The paper draws means; here the spread over prompts is shown too: two policies of one mean may differ in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from proxygold.evaluation.results import Evaluation, Metric
from proxygold.evaluation.self_bleu.metrics import SELF_BLEU
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, FloatArray
from proxygold.report.charts import OTHER_TYPE, QUERY_TYPE_STYLES, Figure, chart
from proxygold.report.figure_page import PageFigure, write_figure_page
from proxygold.report.numbers import number

__all__ = ["self_bleu_figure", "write_self_bleu_figure"]

_NAMES = {CLOSED_ENDED: "closed-ended", OPEN_ENDED: "open-ended", None: "all prompts"}
# Texts are of a model's making and may be long; the axis is for names.
_LONGEST = 40


def self_bleu_figure(by_model: Sequence[tuple[str, FloatArray]], types: Sequence[str | None]) -> Figure:
    """Boxes of the prompts' values, a group for each model and in it a box for each query type.

    `by_model`: each model's (n,) values, NaN where there is none; `types`: the n query types. Where no prompt has a
    type there is one box a model. A box holds the middle half of the prompts, with the median; the dashed line is the
    mean; whiskers end at the last value within 1.5 heights of the box.
    """
    kinds: list[str | None] = [kind for kind in (CLOSED_ENDED, OPEN_ENDED) if kind in types] or [None]
    data = []
    for kind in kinds:
        has = np.array([kind is None or other == kind for other in types])
        shown = [(name, values[has & ~np.isnan(values)]) for name, values in by_model]
        boxes = [(name, values) for name, values in shown if len(values)]
        colour = QUERY_TYPE_STYLES.get(kind or "", OTHER_TYPE)[0]
        data.append({**_boxes(boxes), "name": _NAMES[kind], **_coloured(colour), "offsetgroup": _NAMES[kind]})
    figure = chart(data, x_title="", y_title="Self-BLEU", height=420, legend=True)
    layout = figure["layout"]
    layout["boxmode"] = "group"
    layout["hovermode"] = "closest"
    layout["xaxis"] |= {"type": "category"}
    layout["yaxis"] |= {"rangemode": "tozero"}
    layout["margin"] |= {"t": 40}
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return figure


def _boxes(boxes: Sequence[tuple[str, FloatArray]]) -> Figure:
    """One trace of boxes by their quartiles: the page need not hold every prompt."""
    rows = []
    for _, values in boxes:
        low, middle, high = np.percentile(values, [25, 50, 75])
        reach = 1.5 * (high - low)
        inside = values[(values >= low - reach) & (values <= high + reach)]
        rows.append([inside.min(), low, middle, high, inside.max(), values.mean()])
    columns = np.array(rows).reshape(-1, 6).T.round(5).tolist()
    keys = ("lowerfence", "q1", "median", "q3", "upperfence", "mean")
    return {
        "type": "box",
        "x": [_shortened(name) for name, _ in boxes],
        **dict(zip(keys, columns, strict=True)),
        "boxmean": True,
    }


def _coloured(colour: str) -> Figure:
    return {"line": {"color": f"@{colour}", "width": 1.75}, "fillcolor": f"@{colour}-band"}


def write_self_bleu_figure(
    path: Path, evaluation: Evaluation, by_model: Sequence[tuple[str, FloatArray]], types: Sequence[str | None]
) -> None:
    """Write the figure with its numbers as a page. Raises ConfigError when what draws it is not installed."""
    rows = [
        [result.model, _group(metric), _value(metric), _interval(metric), f"{metric.n_scored} of {metric.n_total}"]
        for result in evaluation.models
        for metric in result.metrics
        if metric.headline
    ]
    figure = PageFigure(
        "Self-BLEU by query type",
        self_bleu_figure(by_model, types),
        "Each box holds the middle half of the prompts, with the median; the dashed line is the mean. High is "
        "consistent, low is diverse.",
        ("model", "", "Self-BLEU", "95% interval", "prompts"),
        rows,
    )
    about = f"{evaluation.settings['n_prompts']} prompts. {evaluation.settings['signature']}"
    write_figure_page(path, "Self-BLEU by query type", [figure], about=about)


def _group(metric: Metric) -> str:
    if metric.name != SELF_BLEU:
        return "closed-ended less open-ended"
    return _NAMES.get(metric.group.partition("=")[2] or None, metric.group)


def _value(metric: Metric) -> str:
    return number(metric.value)


def _interval(metric: Metric) -> str:
    return f"{number(metric.low)} to {number(metric.high)}"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :]
