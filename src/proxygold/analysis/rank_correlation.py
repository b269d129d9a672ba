"""Spearman, Kendall and Pearson between short series, for many pairs of series at once.

scipy.stats computes these for one pair; the bootstrap needs 10,000 pairs of some ten checkpoints each.
Everything here works over the last axis and takes any leading ones, and gives NaN where a correlation is not
defined: a series that never changes.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from proxygold.records import FloatArray

__all__ = ["kendall", "order_signs", "pearson", "permutation_p", "spearman"]

# Two means of the same numbers may differ in their last bits, depending on how they were summed. Differences
# up to this share of the largest magnitude are ties; a real difference between mean rewards is many orders of
# magnitude larger.
TIE_TOLERANCE = 1e-12

# Above this many orders of k checkpoints (k = 7 has 5,040) a permutation test samples them instead of trying
# each.
MAX_EXACT_ORDERS = 5_040
SAMPLED_ORDERS = 10_000


def order_signs(series: FloatArray) -> NDArray[np.int8]:
    """The order of every pair: `[..., i, j]` is the sign of element i minus element j, 0 for a tie.

    `series` is (..., k) without NaN; the result (..., k, k).
    """
    difference = series[..., :, None] - series[..., None, :]
    tolerance = TIE_TOLERANCE * np.max(np.abs(series), axis=-1)[..., None, None]
    signs: NDArray[np.int8] = (difference > tolerance).astype(np.int8) - (difference < -tolerance).astype(np.int8)
    return signs


def _cosine(x: FloatArray, y: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """The sum of products over the root of the sums of squares; NaN where either is all zeros."""
    norms = np.sqrt(np.sum(x * x, axis=axis) * np.sum(y * y, axis=axis))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip(np.sum(x * y, axis=axis) / norms, -1.0, 1.0))


def _centred_ranks(series: FloatArray) -> FloatArray:
    """Ranks minus their mean, ties sharing their average: half of the elements below minus those above."""
    return np.asarray(np.sum(order_signs(series), axis=-1, dtype=np.float64) / 2)


def spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """Spearman's rho over the last axis, ties ranked by their average. x, y: (..., k); the result: (...)."""
    return _cosine(_centred_ranks(x), _centred_ranks(y), axis=-1)


def kendall(x: FloatArray, y: FloatArray) -> FloatArray:
    """Kendall's tau-b (adjusted for ties) over the last axis. x, y: (..., k); the result: (...)."""
    return _cosine(order_signs(x).astype(np.float64), order_signs(y).astype(np.float64), axis=(-2, -1))


def _deviations(series: FloatArray) -> FloatArray:
    constant = ~np.any(order_signs(series), axis=(-2, -1))
    # What is left of a constant series is rounding, which would correlate with anything.
    return np.where(constant[..., None], 0.0, series - np.mean(series, axis=-1, keepdims=True))


def pearson(x: FloatArray, y: FloatArray) -> FloatArray:
    """Pearson's r over the last axis. x, y: (..., k); the result: (...)."""
    return _cosine(_deviations(x), _deviations(y), axis=-1)


def permutation_p(x: FloatArray, y: FloatArray, seed: int) -> float:
    """Two-sided p-value of Spearman's rho if the order of the checkpoints were arbitrary. x and y are (k,).

    Descriptive only: neighbouring checkpoints resemble each other, so their order is never arbitrary, and
    this value is smaller than a test that knew it would give. Every order is tried up to 7 checkpoints;
    above, 10,000 are sampled, and the observed order counts as one of them.
    """
    observed = abs(float(spearman(x, y)))
    if math.isnan(observed):
        return math.nan
    if math.factorial(len(x)) <= MAX_EXACT_ORDERS:
        orders = np.array(list(itertools.permutations(range(len(x)))))
        extra = 0
    else:
        rng = np.random.default_rng([seed, 2])
        orders = rng.permuted(np.tile(np.arange(len(x)), (SAMPLED_ORDERS, 1)), axis=1)
        extra = 1
    ranks_x, ranks_y = _centred_ranks(x), _centred_ranks(y)
    shuffled = np.abs(ranks_x[orders] @ ranks_y) / math.sqrt((ranks_x @ ranks_x) * (ranks_y @ ranks_y))
    # The tolerance keeps orders that are equally extreme from being lost to rounding.
    as_extreme = int(np.sum(shuffled >= observed - 1e-9))
    return (as_extreme + extra) / (len(orders) + extra)
