"""RewardBench's numbers out of verdicts on pairs: pooled, by section, by subset, each beside its null baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from proxygold.analysis.bootstrap import Estimate, percentile_interval
from proxygold.evaluation.results import Difference, Metric
from proxygold.evaluation.reward_bench.pair_accuracies import PROMPT_INTERVAL, Aggregate, DrawnAccuracies, PairBootstrap
from proxygold.evaluation.reward_bench.sections import PAIRS, SECTIONS
from proxygold.evaluation.statistics import ALL_EQUAL
from proxygold.records import FloatArray
from proxygold.training.pair_accuracy import MATCHED_RATIO

__all__ = ["MEAN", "POOLED", "measure_rewards"]

# What the groups of results are called.
POOLED = "overall=pooled"
MEAN = "overall=mean of sections"
_SUBSET = "subset="

_COIN = "95% of what tosses of a coin give on these pairs"


def measure_rewards(
    right: Mapping[str, FloatArray],
    subsets: Sequence[str],
    prompts: Sequence[str],
    lengths: FloatArray,
    baseline: str | None = None,
) -> tuple[dict[str, list[Metric]], list[Difference]]:
    """Each reward's metrics, in per cent, and the differences between rewards, in percentage points.

    `right`: each reward's verdicts on n pairs, (n,): 1, 0, or NaN for a pair that it could not score. `lengths`: (n, 2)
    of the chosen and of the rejected answer, in words. A difference is of the pairs that both rewards scored; of each
    two rewards the later less the earlier, or each less `baseline`.
    """
    bootstrap = PairBootstrap(subsets, prompts)
    aggregates = _aggregates(bootstrap.names)
    matched = lengths.max(axis=1) <= MATCHED_RATIO * lengths.min(axis=1)
    compared = _compared(list(right), baseline)
    columns = [column for verdicts in right.values() for column in _columns(verdicts, lengths, matched)]
    for model, other in compared:
        columns += _both(right[model], right[other])
    drawn = iter(bootstrap.accuracies(columns, aggregates))
    metrics = {}
    for name, verdicts in right.items():
        own = [next(drawn) for _ in range(4)]
        metrics[name] = list(_metrics(verdicts, own, bootstrap, aggregates, matched))
    differences: list[Difference] = []
    for model, other in compared:
        differences += _differences(model, other, next(drawn), next(drawn), aggregates)
    return metrics, differences


def _aggregates(subsets: Sequence[str]) -> list[Aggregate]:
    """All pairs pooled; where there are any the mean of sections and each section; each subset of several."""
    here = frozenset(subsets)
    sections = {
        section: {subset: float(weight) for subset, weight in weights.items() if subset in here}
        for section, weights in SECTIONS.items()
    }
    sections = {section: weights for section, weights in sections.items() if weights}
    found = [Aggregate(POOLED, (here,))]
    if sections:
        found.append(Aggregate(MEAN, tuple(sections.values())))
        found += [Aggregate(f"section={section}", (weights,)) for section, weights in sections.items()]
    if len(here) > 1:
        ordered = [*PAIRS, *sorted(here - PAIRS.keys())]
        found += [Aggregate(f"{_SUBSET}{subset}", (frozenset({subset}),)) for subset in ordered if subset in here]
    return found


def _columns(right: FloatArray, lengths: FloatArray, matched: NDArray[np.bool_]) -> list[FloatArray]:
    """On the pairs that a reward scored: its own verdicts, those by length, and its own where lengths are matched."""
    scored = ~np.isnan(right)
    longer, shorter = lengths[:, 0] > lengths[:, 1], lengths[:, 0] < lengths[:, 1]
    return [
        right,
        np.where(scored, longer.astype(np.float64), np.nan),
        np.where(scored, shorter.astype(np.float64), np.nan),
        np.where(matched, right, np.nan),
    ]


def _both(right: FloatArray, other: FloatArray) -> list[FloatArray]:
    """Two rewards' verdicts on the pairs that both scored."""
    shared = ~(np.isnan(right) | np.isnan(other))
    return [np.where(shared, right, np.nan), np.where(shared, other, np.nan)]


def _metrics(
    right: FloatArray,
    drawn: Sequence[DrawnAccuracies],
    bootstrap: PairBootstrap,
    aggregates: Sequence[Aggregate],
    matched: NDArray[np.bool_],
) -> Iterator[Metric]:
    accuracy, longest, shortest, own_matched = drawn
    every = np.ones(len(right), dtype=bool)
    named = [
        ("accuracy", accuracy, every, PROMPT_INTERVAL),
        ("longest", longest, every, PROMPT_INTERVAL),
        ("shortest", shortest, every, PROMPT_INTERVAL),
        ("random", bootstrap.coin(~np.isnan(right), aggregates), every, _COIN),
        ("length-matched", own_matched, matched, PROMPT_INTERVAL),
    ]
    has_sections = any(each.group == MEAN for each in aggregates)
    for place, aggregate in enumerate(aggregates):
        headline = not (has_sections and aggregate.group.startswith(_SUBSET))
        for name, values, of, interval in named:
            total = bootstrap.count(of, aggregate)
            yield _metric(name, values, place, aggregate.group, total, interval, headline)


def _metric(
    name: str, found: DrawnAccuracies, place: int, group: str, total: int, interval: str, headline: bool
) -> Metric:
    n = int(found.n[place])
    if n == 0:
        return Metric(name, float("nan"), 0, total, group, headline=headline)
    drawn = 100 * found.drawn[:, place]
    estimate = _interval(100 * float(found.values[place]), drawn)
    how = interval if estimate.low == estimate.low else ALL_EQUAL
    error = float(np.nanstd(drawn))
    return Metric(name, estimate.value, n, total, group, estimate.low, estimate.high, error, how, headline)


def _interval(value: float, drawn: FloatArray) -> Estimate:
    """None (NaN) where all draws are equal: all pairs were right, or all wrong, which says nothing of other pairs."""
    defined = drawn[~np.isnan(drawn)]
    if not len(defined) or np.ptp(defined) == 0.0:
        return Estimate(value, float("nan"), float("nan"))
    return percentile_interval(value, drawn)


def _differences(
    model: str, other: str, first: DrawnAccuracies, second: DrawnAccuracies, aggregates: Sequence[Aggregate]
) -> Iterator[Difference]:
    for place, aggregate in enumerate(aggregates):
        if aggregate.group.startswith(_SUBSET):
            continue
        drawn = 100 * (first.drawn[:, place] - second.drawn[:, place])
        estimate = _interval(100 * float(first.values[place] - second.values[place]), drawn)
        n, headline = int(first.n[place]), aggregate.group in (POOLED, MEAN)
        yield Difference(
            "accuracy", model, other, estimate.value, estimate.low, estimate.high, n, aggregate.group, headline
        )


def _compared(names: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    if baseline is None:
        return [(model, earlier) for earlier, model in combinations(names, 2)]
    return [(model, baseline) for model in names if model != baseline]
