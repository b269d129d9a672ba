"""How far gold fell from its peak, measured so that the choice of the peak cannot make it look larger.

The highest of k noisy means is high partly by luck, so a fall from it, measured on the same prompts, is
positive even where gold never moved. The peak is therefore chosen on one half of the prompts and the fall
measured on the other, both ways, and the two are averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxygold.analysis.bootstrap import Estimate, PromptDraws, percentile_interval
from proxygold.records import FloatArray

__all__ = ["MIN_SHARE", "Drawdown", "drawdown", "halves"]

# A fall smaller than this share of the rise is no reason to distrust a reward, however certain it is.
MIN_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class Drawdown:
    """Gold's fall from its peak to the last checkpoint, in gold's units.

    fall:    mean fall per prompt, cross-fitted; positive is a fall
    rise:    mean rise from step 0 to the same peaks, cross-fitted
    peaks:   the steps that the two halves of the prompts chose
    bar:     what a fall must reach to count: a tenth of the rise, or of gold's spread over prompts at step 0
    bar_is:  which of the two, in words
    counts:  whether the fall's interval lies above 0 and the fall reaches the bar
    """

    fall: Estimate
    rise: Estimate
    peaks: tuple[int, int]
    bar: float
    bar_is: str
    counts: bool


def halves(n: int, seed: int) -> NDArray[np.bool_]:
    """A random half of n prompts, as a mask (n,)."""
    mask = np.zeros(n, dtype=np.bool_)
    mask[np.random.default_rng([seed, 3]).permutation(n)[: n // 2]] = True
    return mask


def drawdown(gold: FloatArray, steps: NDArray[np.int64], first_half: NDArray[np.bool_], drawn: PromptDraws) -> Drawdown:
    """Drawdown of `gold` (k, n); `first_half` (n,) marks the prompts of one half, `drawn` is their bootstrap.

    The peaks stay as chosen in every draw: given its peak, the other half's fall is an ordinary paired mean,
    and its interval an ordinary one. (Choosing anew in each draw as well was tried: with 200 prompts it never
    fired falsely, but missed three in four falls by half of the rise, where this misses one in two.)
    """
    last = int(steps[-1])
    if gold.shape[1] < 2:
        undefined = Estimate(math.nan, math.nan, math.nan)
        return Drawdown(undefined, undefined, (last, last), math.nan, "nothing: it takes two prompts", False)
    first, second = gold[:, first_half].mean(axis=1), gold[:, ~first_half].mean(axis=1)
    peak_first, peak_second = int(np.argmax(first)), int(np.argmax(second))

    def below_peak(checkpoint: int) -> Estimate:
        """Gold at the peak minus gold at `checkpoint`; each half is measured at the other half's peak."""
        value = (first[peak_second] - first[checkpoint] + second[peak_first] - second[checkpoint]) / 2
        in_first = drawn.gold_first[:, peak_second] - drawn.gold_first[:, checkpoint]
        in_second = drawn.gold_second[:, peak_first] - drawn.gold_second[:, checkpoint]
        return percentile_interval(float(value), (in_first + in_second) / 2)

    fall, rise = below_peak(-1), below_peak(0)
    # Where gold rose by no more than noise, 10% of that noise would let any fall count.
    if rise.above_zero:
        bar, bar_is = MIN_SHARE * rise.value, "10% of gold's rise to its peak"
    else:
        bar = MIN_SHARE * float(np.std(gold[0], ddof=1))
        bar_is = "10% of gold's standard deviation over prompts at step 0, because gold never rose"
    peaks = (int(steps[peak_first]), int(steps[peak_second]))
    return Drawdown(fall, rise, peaks, bar, bar_is, fall.above_zero and fall.value >= bar)
