"""Bootstrap over prompts: what the numbers would have been with other prompts of the same kind.

A draw takes n prompts with replacement and uses the same ones at every checkpoint and for both rewards,
because the same prompts were answered each time: what is easy for one checkpoint is easy for the next. It
covers the choice of prompts and the sampling of the completions. It says nothing about another training run;
only other seeds do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxygold.records import FloatArray

__all__ = ["CONFIDENCE", "Estimate", "PromptDraws", "percentile_interval", "prompt_counts", "resample_means"]

CONFIDENCE = 0.95

# Draws in which a statistic is not defined (all checkpoints tied, say) are left out of its interval, but not
# silently: above this share there is no interval at all, because the draws that remain are no longer a sample
# of what could have happened.
MAX_UNDEFINED_SHARE = 0.05

# Counts per block: small enough to stay in the processor's cache, which is faster than one big matrix and
# needs no memory.
_BLOCK = 200_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95% percentile interval. NaN where it is not defined."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        return self.low > 0.0

    @property
    def below_zero(self) -> bool:
        return self.high < 0.0


def prompt_counts(n: int, draws: int, seed: int) -> Iterator[FloatArray]:
    """How often each of n prompts is taken in `draws` draws: blocks of (some draws, n), rows summing to n."""
    rng = np.random.default_rng([seed, 1])
    block = max(1, _BLOCK // n)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        taken = rng.integers(0, n, size=(rows, n))
        taken += np.arange(rows)[:, None] * n
        yield np.bincount(taken.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


@dataclass(frozen=True, slots=True)
class PromptDraws:
    """Checkpoint means in each draw, all (draws, k): both rewards over all prompts, gold over each half.

    A draw can leave a half empty when there are very few prompts; its means are then NaN.
    """

    proxy: FloatArray
    gold: FloatArray
    gold_first: FloatArray
    gold_second: FloatArray


def resample_means(
    proxy: FloatArray, gold: FloatArray, first_half: NDArray[np.bool_], *, draws: int, seed: int
) -> PromptDraws:
    """Draw prompts jointly for every checkpoint and both rewards.

    `proxy` and `gold` are (k, n) without NaN; `first_half` (n,) marks one half of the prompts. The halves are
    drawn within the same draw, so that every statistic of a draw is of the same prompts.
    """
    k, n = proxy.shape
    scores = np.concatenate([proxy, gold]).T  # (n, 2k)
    in_first, in_second = np.ascontiguousarray(scores[first_half]), np.ascontiguousarray(scores[~first_half])
    blocks = []
    for counts in prompt_counts(n, draws, seed):
        count_first, count_second = counts[:, first_half], counts[:, ~first_half]
        sum_first, sum_second = count_first @ in_first, count_second @ in_second
        with np.errstate(invalid="ignore"):
            means_first = sum_first[:, k:] / count_first.sum(axis=1, keepdims=True)
            means_second = sum_second[:, k:] / count_second.sum(axis=1, keepdims=True)
        blocks.append(np.concatenate([(sum_first + sum_second) / n, means_first, means_second], axis=1))
    means = np.concatenate(blocks)
    return PromptDraws(*(np.ascontiguousarray(part) for part in np.split(means, 4, axis=1)))


def percentile_interval(value: float, drawn: FloatArray) -> Estimate:
    """`value` with the percentile interval of its bootstrap draws (draws,).

    Draws where the statistic is not defined (NaN) are left out; the interval is NaN when they are more than
    5% of all.
    """
    defined = drawn[~np.isnan(drawn)]
    if math.isnan(value) or len(defined) < (1 - MAX_UNDEFINED_SHARE) * len(drawn):
        return Estimate(value, math.nan, math.nan)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Estimate(value, float(low), float(high))
