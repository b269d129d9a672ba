"""Training logs, thinned and smoothed for the report's small charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxygold.records import FloatArray
from proxygold.store import ArmDirectory

__all__ = ["QUANTITIES", "TrainingCurve", "training_curves"]

# Keys of a line of the training log, with the name that the page gives them.
QUANTITIES = (
    ("reward", "mean reward"),
    ("kl", "KL from the start, nats"),
    ("tokens", "mean length, tokens"),
)

# More points than a small chart has pixels would only make the file larger.
MAX_POINTS = 400
WINDOW_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """One quantity of one seed: `values` (n,) as logged (thinned if many), and `smooth`, their running mean."""

    seed: int
    steps: tuple[int, ...]
    values: FloatArray
    smooth: FloatArray


def training_curves(arms: Sequence[ArmDirectory], key: str) -> list[TrainingCurve]:
    """The curves of one quantity, one for each arm that has logged it."""
    curves = []
    for arm in arms:
        logged = [(record["step"], record[key]) for record in arm.read_steps() if record.get(key) is not None]
        if logged:
            steps, values = _thinned(np.array(logged, dtype=np.float64))
            curves.append(TrainingCurve(arm.seed, steps, values, _running_mean(values)))
    return curves


def _thinned(logged: FloatArray) -> tuple[tuple[int, ...], FloatArray]:
    """At most MAX_POINTS of the (n, 2) steps and values: neighbours averaged, named by the last step of each group."""
    groups = np.array_split(logged, min(MAX_POINTS, len(logged)))
    return tuple(int(group[-1, 0]) for group in groups), np.array([group[:, 1].mean() for group in groups])


def _running_mean(values: FloatArray) -> FloatArray:
    """Mean over a centred window of 5% of the points, smaller at the ends, where there are fewer."""
    half = max(1, round(WINDOW_SHARE * len(values) / 2))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low))
