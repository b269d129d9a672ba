"""How often a reward model prefers the better of two answers, and how much of that is length.

A reward model that only counts words is right in more than half of most preference data. So its accuracy
stands beside that of "the longer answer is better" on the same pairs, and beside its own accuracy on the
pairs of nearly one length, where counting does not help.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["MATCHED_RATIO", "Accuracy", "AccuracyTable", "measure_accuracy", "wilson_interval"]

MATCHED_RATIO = 1.2  # two answers are matched in length when the longer is at most 20% longer
_Z = 1.959963984540054  # the 97.5% quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The share `value` of `n` pairs ordered right, a tie counting half, and its 95% interval; NaN for n 0."""

    name: str
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AccuracyTable:
    """The model on all pairs, length alone on all pairs, the model on pairs matched in length, each source."""

    overall: Accuracy
    longer_is_better: Accuracy
    matched: Accuracy
    by_source: tuple[Accuracy, ...]

    def rows(self) -> list[Accuracy]:
        """Every accuracy, in the order to print."""
        return [self.overall, self.longer_is_better, self.matched, *self.by_source]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for a JSON file."""
        return asdict(self)


def measure_accuracy(
    chosen: ArrayLike,
    rejected: ArrayLike,
    chosen_lengths: ArrayLike,
    rejected_lengths: ArrayLike,
    sources: Sequence[str],
) -> AccuracyTable:
    """The accuracies of n pairs from the scores (n,) of their answers and the answers' lengths (n,), in any one unit.

    A pair with a NaN score counts as wrong: what cannot be scored has not been told apart.
    """
    good, bad = np.asarray(chosen, dtype=np.float64), np.asarray(rejected, dtype=np.float64)
    long, short = np.asarray(chosen_lengths, dtype=np.float64), np.asarray(rejected_lengths, dtype=np.float64)
    right = _credit(good, bad)
    matched = np.maximum(long, short) <= MATCHED_RATIO * np.minimum(long, short)
    names = np.asarray(sources, dtype=object)
    return AccuracyTable(
        overall=_accuracy("all pairs", right),
        longer_is_better=_accuracy("longer is better, all pairs", _credit(long, short)),
        matched=_accuracy(f"matched in length (within {MATCHED_RATIO - 1:.0%})", right[matched]),
        by_source=tuple(_accuracy(name, right[names == name]) for name in sorted(set(sources))),
    )


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The 95% score interval of a proportion (Wilson 1927), which stays within 0 and 1 and needs no large n.

    Pairs of one prompt are not independent, so an interval over few prompts is somewhat too narrow.
    """
    if n == 0:
        return math.nan, math.nan
    centre = share + _Z**2 / (2 * n)
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return (centre - spread) / scale, (centre + spread) / scale


def _credit(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(first > second, 1.0, np.where(first == second, 0.5, 0.0))


def _accuracy(name: str, right: np.ndarray[Any, Any]) -> Accuracy:
    n = len(right)
    value = float(right.mean()) if n else math.nan
    return Accuracy(name, n, value, *wilson_interval(value, n))
