"""What a benchmark found, the same form for every one: metrics of models, and differences between them.

A metric is never a bare number: it says how many items it is of, out of how many, and how sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["OVERALL", "Difference", "Evaluation", "Metric", "ModelResult"]

OVERALL = ""
"""The group of a metric that is of all items."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number, of `n_scored` out of `n_total` items.

    `value` is NaN when nothing could be scored. `low`, `high`: a 95% interval, made as `interval` says. `group`:
    OVERALL, or which items, such as `category=math`. `headline`: whether the terminal shows it; files have all.
    """

    name: str
    value: float
    n_scored: int
    n_total: int
    group: str = OVERALL
    low: float = math.nan
    high: float = math.nan
    standard_error: float = math.nan
    interval: str = ""
    headline: bool = True


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a metric of `model` is above that of `baseline` on the `n` items that both have, with a 95% interval."""

    name: str
    model: str
    baseline: str
    value: float
    low: float
    high: float
    n: int
    group: str = OVERALL
    headline: bool = True

    @property
    def significant(self) -> bool:
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model's metrics. `left_out` counts the items that could not be scored, by reason. `about`: what was
    evaluated: paths, template, dtype, hashes."""

    model: str
    metrics: Sequence[Metric]
    left_out: Mapping[str, int] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A benchmark's result. `settings`: everything that changes its numbers (judge and hash of its prompt, protocol,
    seeds, signature). `notes` are sentences to be printed. `files`: what was written beside, by what it is.
    `rejected`: the rows of the benchmark's own data that could not be used, as `path:line: reason`."""

    benchmark: str
    settings: Mapping[str, Any]
    models: Sequence[ModelResult]
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    rejected: Sequence[str] = ()
