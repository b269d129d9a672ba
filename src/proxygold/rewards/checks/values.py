"""The numbers themselves: finite, not all the same, on what scale, and whether they just follow length."""

from __future__ import annotations

from collections import Counter

import numpy as np

from proxygold.features.custom_rows import mistake_in
from proxygold.records import FloatArray
from proxygold.rewards.checks.finding import Outcome, fail, ok, warn
from proxygold.rewards.checks.subject import Subject

__all__ = ["finite", "follows_length", "not_constant", "scale"]

_LARGE = 100.0
_ALL_BUT_LENGTH = 0.9
_ENOUGH_ROWS = 8


def finite(subject: Subject) -> Outcome:
    """Every ordinary answer has a finite score, or a reason that is no failure of a feature."""
    reasons = Counter(reason for reason in subject.scored.reasons if reason)
    n = len(subject.examples)
    if not reasons:
        return ok(f"{n} of {n} ordinary answers")
    mistakes = [reason for reason, _ in reasons.most_common() if mistake_in(reason) is not None]
    seen = f"{reasons.total()} of {n} ordinary answers have no score: {(mistakes or [reasons.most_common(1)[0][0]])[0]}"
    if mistakes:
        return fail(seen, "Return a number for every answer; math.nan where there is truly none.")
    if reasons.total() == n:
        return fail(seen, "Nothing can be learned from this reward on such data. Mend the line or the data.")
    return warn(seen, "A trainer learns nothing from these rows. Mend the line (clip, max) or the data.")


def not_constant(subject: Subject) -> Outcome:
    """Different answers get different scores."""
    values = _finite(subject)
    if len(values) > 1 and np.ptp(values) == 0:
        return warn(f"all {len(values)} answers score {values[0]:.6g}", "Nothing can be learned from one number.")
    return ok(f"{len(np.unique(values)):,} different scores for {len(values):,} answers")


def scale(subject: Subject) -> Outcome:
    """How large the scores are, and how many there are."""
    values = _finite(subject)
    if not len(values):
        return ok("no score at all")
    low, middle, high = np.percentile(values, [0, 50, 100])
    share = 1 - len(values) / len(subject.examples)
    seen = f"{low:.4g} to {high:.4g}, median {middle:.4g}" + (f"; {share:.0%} without a score" if share else "")
    if max(abs(low), abs(high)) > _LARGE:
        return warn(seen, "PPO's penalties assume scores of about 1. Divide, or rescale(x, low, high, 0, 1).")
    return ok(seen)


def follows_length(subject: Subject) -> Outcome:
    """Spearman correlation of the scores with the length of the answers."""
    usable = np.isfinite(subject.scored.total)
    lengths = np.array([len(example.completion) for example in subject.examples], dtype=np.float64)[usable]
    values = subject.scored.total[usable]
    if len(values) < _ENOUGH_ROWS or np.ptp(values) == 0 or np.ptp(lengths) == 0:
        return ok("cannot be told: too few scores, or all alike")
    rho = float(np.corrcoef(_ranks(values), _ranks(lengths))[0, 1])
    seen = f"rank correlation with length {rho:+.2f}"
    if abs(rho) > _ALL_BUT_LENGTH:
        way = "longer" if rho > 0 else "shorter"
        return warn(seen, f"A policy will write {way} answers. Add what length does not buy: RP, QR, target_length.")
    return ok(seen)


def _finite(subject: Subject) -> FloatArray:
    values: FloatArray = subject.scored.total[np.isfinite(subject.scored.total)]
    return values


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks from 0, ties sharing the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    ranks: FloatArray = (last - (counts - 1) / 2)[group]
    return ranks
