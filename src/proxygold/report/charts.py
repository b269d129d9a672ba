"""The report's charts, as plotly figures in plain dicts.

Colours are names such as `@gold`: the page's script replaces them by the page's own, so that charts follow its light
and dark themes. Lines differ in dash and marker too, not in colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from proxygold.analysis.curves import Curve, RewardCurves
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, FloatArray
from proxygold.report.training import TrainingCurve

__all__ = ["OTHER_TYPE", "QUERY_TYPE_STYLES", "Figure", "chart", "curve_chart", "query_type_chart", "training_chart"]

Figure = dict[str, Any]

# Colour, dash and marker of each line; the legends in the page show the same.
PROXY = ("proxy", "dash", "square")
GOLD = ("gold", "solid", "circle")
QUERY_TYPE_STYLES = {OPEN_ENDED: ("open", "solid", "circle"), CLOSED_ENDED: ("closed", "dot", "diamond")}
OTHER_TYPE = ("muted", "longdash", "x")


def _listed(values: FloatArray) -> list[float | None]:
    """Rounded for the page's size; NaN and infinities become gaps."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _band(steps: Sequence[int], curve: Curve, colour: str) -> list[Figure]:
    edge: Figure = {"x": list(steps), "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    return [
        {**edge, "y": _listed(curve.low)},
        {**edge, "y": _listed(curve.high), "fill": "tonexty", "fillcolor": f"@{colour}-band"},
    ]


def _line(steps: Sequence[int], curve: Curve, style: tuple[str, str, str], name: str, hover: str) -> Figure:
    colour, dash, marker = style
    return {
        "x": list(steps),
        "y": _listed(curve.line),
        "customdata": _listed(curve.means),
        "name": name,
        "mode": "lines+markers",
        "line": {"color": f"@{colour}", "width": 2.25, "dash": dash},
        "marker": {"color": f"@{colour}", "size": 7, "symbol": marker},
        "hovertemplate": hover,
    }


def _thin_line(steps: Sequence[int], values: FloatArray, style: tuple[str, str, str]) -> Figure:
    colour, dash, _ = style
    line = {"color": f"@{colour}", "width": 1, "dash": dash}
    return {"x": list(steps), "y": _listed(values), "mode": "lines", "line": line, "opacity": 0.45, "hoverinfo": "skip"}


def chart(data: list[Figure], *, x_title: str, y_title: str, height: int, legend: bool = False) -> Figure:
    """The figure of these traces in the look of the page. Its colours are names, which the page's script replaces."""
    axis: Figure = {
        "gridcolor": "@grid",
        "zerolinecolor": "@axis",
        "linecolor": "@axis",
        "tickcolor": "@axis",
        "automargin": True,
        "fixedrange": True,
    }
    layout: Figure = {
        "height": height,
        "margin": {"l": 44, "r": 12, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "@font", "size": 12, "color": "@muted"},
        "showlegend": legend,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "@card", "bordercolor": "@grid", "font": {"color": "@text"}},
        "xaxis": {**axis, "title": {"text": x_title, "standoff": 8}, "showgrid": False, "zeroline": False, "nticks": 6},
        "yaxis": {**axis, "title": {"text": y_title, "standoff": 4}, "nticks": 6},
    }
    return {"data": data, "layout": layout}


def curve_chart(curves: RewardCurves) -> Figure:
    """Standardised proxy and gold by training step with their bands; the seeds as thin lines when there are several."""
    steps = curves.steps
    data = [*_band(steps, curves.proxy, "proxy"), *_band(steps, curves.gold, "gold")]
    for seed in curves.seeds:
        data += [_thin_line(steps, seed.proxy, PROXY), _thin_line(steps, seed.gold, GOLD)]
    hover = "%{y:.2f} sd, mean %{customdata:.3g}"
    data.append(_line(steps, curves.proxy, PROXY, "proxy", hover))
    data.append(_line(steps, curves.gold, GOLD, "gold", hover))
    return chart(data, x_title="training step", y_title="standardised mean", height=300)


def query_type_chart(curves: RewardCurves) -> Figure:
    """Gold's gain over step 0 for each query type, in gold's own units."""
    data: list[Figure] = []
    for query_type, curve in curves.gold_by_type.items():
        data += _band(curves.steps, curve, QUERY_TYPE_STYLES.get(query_type, OTHER_TYPE)[0])
    for query_type, curve in curves.gold_by_type.items():
        style = QUERY_TYPE_STYLES.get(query_type, OTHER_TYPE)
        name = query_type.replace("_", "-")
        data.append(_line(curves.steps, curve, style, name, "%{y:+.3g}, mean %{customdata:.3g}"))
    return chart(data, x_title="training step", y_title="gold − gold at step 0", height=280)


def training_chart(curves: Sequence[TrainingCurve]) -> Figure:
    """One logged quantity by training step: each seed's values thin, their running mean thick."""
    data: list[Figure] = []
    for curve in curves:
        points: Figure = {"x": list(curve.steps), "mode": "lines", "name": f"seed {curve.seed}"}
        logged: Figure = {"y": _listed(curve.values), "line": {"color": "@muted", "width": 1}, "opacity": 0.35}
        smooth: Figure = {"y": _listed(curve.smooth), "line": {"color": "@proxy", "width": 1.75}}
        data += [{**points, **logged, "hoverinfo": "skip"}, {**points, **smooth, "hovertemplate": "%{y:.3g}"}]
    return chart(data, x_title="step", y_title="", height=170)
