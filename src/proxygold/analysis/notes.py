"""What a reader must know before trusting a rank correlation of checkpoint means.

Ranks bootstrap badly in two places: where checkpoint means tie (a plateau: the order of equals is noise), and
at the limit of 1 (no draw can lie above it, so an interval there is one-sided). Gains and drawdown suffer
from neither.
"""

from __future__ import annotations

import numpy as np

from proxygold.analysis.bootstrap import Estimate
from proxygold.analysis.rank_correlation import order_signs
from proxygold.analysis.verdict import UNRELATED, Verdict
from proxygold.records import FloatArray

__all__ = ["notes_on", "pairs_told_apart"]

# With fewer prompts percentile intervals are noticeably too narrow.
FEW_PROMPTS = 30

# A plateau is said when at least this share of the pairs of checkpoints cannot be told apart.
PLATEAU_SHARE = 0.5

# Correlations this close to 1 or -1 are at the limit: with k checkpoints no rank correlation lies between.
LIMIT = 1 - 1e-9


def pairs_told_apart(scores: FloatArray) -> tuple[int, int]:
    """How many pairs of checkpoints differ in mean by more than noise, and how many pairs there are.

    `scores` is (k, n). Differences are paired by prompt and compared to 1.96 standard errors.
    """
    k, n = scores.shape
    if n < 2 or k < 2:
        return 0, k * (k - 1) // 2
    covariance = np.atleast_2d(np.cov(scores))
    variance = np.diag(covariance)
    # Var(a - b) = Var a + Var b - 2 Cov(a, b); rounding can push that of two equal rows below 0.
    standard_error = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * covariance, 0.0) / n)
    means = scores.mean(axis=1)
    apart = np.abs(means[:, None] - means[None, :]) > 1.96 * standard_error
    # Of two rows that differ by a constant the standard error is 0: told apart unless they are equal.
    apart &= order_signs(means) != 0
    upper = np.triu_indices(k, 1)
    return int(np.sum(apart[upper])), len(upper[0])


def notes_on(
    proxy: FloatArray, gold: FloatArray, rho: Estimate, rho_drawn: FloatArray, left_out: int, verdict: Verdict
) -> tuple[str, ...]:
    """The notes on one analysis, most important first. `proxy` and `gold` are (k, n) without NaN."""
    notes = []
    if left_out:
        notes.append(
            f"{left_out} of {left_out + proxy.shape[1]} prompts are left out: a score could not be computed "
            "at some checkpoint."
        )
    if proxy.shape[1] < FEW_PROMPTS:
        notes.append(f"{proxy.shape[1]} prompts are few: intervals come out too narrow below {FEW_PROMPTS}.")
    for name, scores in (("proxy", proxy), ("gold", gold)):
        notes.extend(_plateau(name, scores, verdict))
    undefined = int(np.sum(np.isnan(rho_drawn)))
    if undefined:
        notes.append(
            f"In {undefined:,} of {len(rho_drawn):,} draws all checkpoint means of a reward tied and Spearman is "
            "undefined; they are left out of its interval, and above 5% it has none."
        )
    if abs(rho.value) >= LIMIT:
        at_limit = float(np.mean(np.abs(rho_drawn) >= LIMIT))
        notes.append(
            f"Spearman is at its limit of {rho.value:+.0f} (as in {at_limit:.0%} of the draws), so its interval "
            "can extend to one side only. Read the gains and the drawdown beside it."
        )
    return tuple(notes)


def _plateau(name: str, scores: FloatArray, verdict: Verdict) -> list[str]:
    notes = []
    means = scores.mean(axis=1)
    upper = np.triu_indices(len(means), 1)
    tied = int(np.sum(order_signs(means)[upper] == 0))
    told_apart, pairs = pairs_told_apart(scores)
    if tied:
        notes.append(
            f"{tied} of {pairs} pairs of checkpoints have exactly the same mean {name}; ties get their average rank."
        )
    if pairs and told_apart == 0 and name == "gold" and verdict.name == UNRELATED:
        notes.append(
            "No two checkpoints differ in gold by more than noise, so a low correlation is expected whatever "
            "the proxy is: read this as gold that did not move, and use more prompts to see whether it did."
        )
    elif pairs and pairs - told_apart >= PLATEAU_SHARE * pairs:
        notes.append(
            f"{name.capitalize()} has a plateau: {pairs - told_apart} of {pairs} pairs of checkpoints cannot "
            "be told apart. Their order is noise, which lowers Spearman but neither gains nor drawdown."
        )
    return notes
