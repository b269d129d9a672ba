"""Does gold follow the proxy over the checkpoints of a training run?

Rewards come as arrays of (k checkpoints, n prompts), gold beside proxy. What comes out is the correlation of
their means over checkpoints with a bootstrap interval over prompts, the gains over step 0, the drawdown of
gold, and a verdict (`verdict.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proxygold.analysis.bootstrap import Estimate, percentile_interval, resample_means
from proxygold.analysis.drawdown import Drawdown, drawdown, halves
from proxygold.analysis.notes import notes_on
from proxygold.analysis.rank_correlation import kendall, pearson, permutation_p, spearman
from proxygold.analysis.verdict import Verdict, decide
from proxygold.errors import DataError
from proxygold.records import FloatArray

__all__ = ["DRAWS", "THRESHOLD", "Monotonicity", "monotonicity"]

DRAWS = 10_000
THRESHOLD = 0.8


@dataclass(frozen=True, slots=True)
class Monotonicity:
    """The monotonicity of one training run. Intervals are 95% percentile intervals over prompts.

    prompts, left_out    prompts analysed; prompts without both scores at every checkpoint
    proxy_means          mean over prompts at each of `steps`; `gold_means` likewise
    permutation_p        descriptive only: checkpoints are autocorrelated
    proxy_gain           last checkpoint minus step 0, paired by prompt; `gold_gain` likewise
    undefined_draws      bootstrap draws without a Spearman's rho, because all means of a reward tied
    notes                what to know before trusting these numbers
    """

    steps: tuple[int, ...]
    prompts: int
    left_out: int
    proxy_means: tuple[float, ...]
    gold_means: tuple[float, ...]
    spearman: Estimate
    kendall: float
    pearson: float
    permutation_p: float
    proxy_gain: Estimate
    gold_gain: Estimate
    drawdown: Drawdown
    undefined_draws: int
    verdict: Verdict
    notes: tuple[str, ...]

    @property
    def checkpoints(self) -> int:
        return len(self.steps)


def monotonicity(
    proxy: ArrayLike,
    gold: ArrayLike,
    steps: ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> Monotonicity:
    """Analyse one training run.

    `proxy` and `gold` are (k, n): k checkpoints of the same n prompts in the same order; NaN where a score
    could not be computed. `steps` (k,) ascends from 0. A prompt with a NaN at any checkpoint in either reward
    is left out and counted. The same arguments give the same result. Raises DataError when shapes or steps do
    not fit.
    """
    proxy_scores, gold_scores, step_numbers = _checked(proxy, gold, steps)
    complete = np.all(np.isfinite(proxy_scores) & np.isfinite(gold_scores), axis=0)
    left_out = int(np.sum(~complete))
    proxy_scores, gold_scores = proxy_scores[:, complete], gold_scores[:, complete]
    n = proxy_scores.shape[1]
    if n == 0:
        return _without_prompts(step_numbers, left_out, threshold)

    first_half = halves(n, seed)
    drawn = resample_means(proxy_scores, gold_scores, first_half, draws=draws, seed=seed)
    proxy_means, gold_means = proxy_scores.mean(axis=1), gold_scores.mean(axis=1)
    rho_drawn = spearman(drawn.proxy, drawn.gold)
    rho = percentile_interval(float(spearman(proxy_means, gold_means)), rho_drawn)
    proxy_gain, gold_gain = (
        percentile_interval(float(means[-1] - means[0]), resampled[:, -1] - resampled[:, 0])
        for means, resampled in ((proxy_means, drawn.proxy), (gold_means, drawn.gold))
    )
    fall = drawdown(gold_scores, step_numbers, first_half, drawn)
    verdict = decide(
        checkpoints=len(step_numbers),
        prompts=n,
        spearman=rho,
        proxy_gain=proxy_gain,
        gold_gain=gold_gain,
        drawdown=fall,
        threshold=threshold,
    )
    return Monotonicity(
        steps=tuple(step_numbers.tolist()),
        prompts=n,
        left_out=left_out,
        proxy_means=tuple(proxy_means.tolist()),
        gold_means=tuple(gold_means.tolist()),
        spearman=rho,
        kendall=float(kendall(proxy_means, gold_means)),
        pearson=float(pearson(proxy_means, gold_means)),
        permutation_p=permutation_p(proxy_means, gold_means, seed),
        proxy_gain=proxy_gain,
        gold_gain=gold_gain,
        drawdown=fall,
        undefined_draws=int(np.sum(np.isnan(rho_drawn))),
        verdict=verdict,
        notes=notes_on(proxy_scores, gold_scores, rho, rho_drawn, left_out, verdict),
    )


def _checked(proxy: ArrayLike, gold: ArrayLike, steps: ArrayLike) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    proxy_scores, gold_scores = np.asarray(proxy, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    step_numbers = np.asarray(steps, dtype=np.int64)
    if (
        proxy_scores.ndim != 2
        or proxy_scores.shape != gold_scores.shape
        or step_numbers.shape != proxy_scores.shape[:1]
    ):
        raise DataError(
            f"proxy is {proxy_scores.shape}, gold {gold_scores.shape} and steps {step_numbers.shape}; "
            "both rewards must be (checkpoints, prompts) and steps (checkpoints,)."
        )
    if len(step_numbers) == 0 or step_numbers[0] != 0 or np.any(np.diff(step_numbers) <= 0):
        listed = ", ".join(map(str, step_numbers.tolist())) or "none"
        raise DataError(
            f"the scored steps are {listed}; they must ascend from 0, each once. Step 0 is the policy before "
            "training: "
            "score its completions too, because gains are measured from there."
        )
    return proxy_scores, gold_scores, step_numbers


def _without_prompts(steps: NDArray[np.int64], left_out: int, threshold: float) -> Monotonicity:
    """The result when no prompt has both scores at every checkpoint: nothing is known, and it says so."""
    nan = float("nan")
    unknown = Estimate(nan, nan, nan)
    fall = Drawdown(unknown, unknown, (0, 0), nan, "nothing: there are no prompts", False)
    verdict = decide(
        checkpoints=len(steps),
        prompts=0,
        spearman=unknown,
        proxy_gain=unknown,
        gold_gain=unknown,
        drawdown=fall,
        threshold=threshold,
    )
    means = (nan,) * len(steps)
    note = f"{left_out} prompts are left out: none has a proxy and a gold score at every checkpoint."
    return Monotonicity(
        tuple(steps.tolist()),
        0,
        left_out,
        means,
        means,
        unknown,
        nan,
        nan,
        nan,
        unknown,
        unknown,
        fall,
        0,
        verdict,
        (note,),
    )
