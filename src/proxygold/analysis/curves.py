"""Rewards by training step, with bands: what the report draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxygold.analysis.bootstrap import CONFIDENCE, resample_means
from proxygold.analysis.scores import ArmScores
from proxygold.records import FloatArray

__all__ = ["Curve", "RewardCurves", "SeedCurves", "reward_curves"]

# A band needs no more than this to look the same each time.
DRAWS = 2_000


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with its 95% band, all (k,). `means` is the line in the reward's own units."""

    line: FloatArray
    low: FloatArray
    high: FloatArray
    means: FloatArray


@dataclass(frozen=True, slots=True)
class SeedCurves:
    """One seed's lines in the units of the mean over seeds."""

    seed: int
    proxy: FloatArray
    gold: FloatArray


@dataclass(frozen=True, slots=True)
class RewardCurves:
    """The curves of one reward, averaged over its seeds.

    proxy, gold      standardised: means minus their average over checkpoints, over their standard deviation
    gold_by_type     gold minus gold at step 0, in gold's units, for each query type
    """

    reward: str
    steps: tuple[int, ...]
    prompts: int
    proxy: Curve
    gold: Curve
    seeds: tuple[SeedCurves, ...]
    gold_by_type: Mapping[str, Curve]


def reward_curves(arms: Sequence[ArmScores], *, seed: int = 0) -> RewardCurves:
    """The curves of one reward from its arms (one a seed), over the checkpoints and prompts that all of them have.

    The band says how the shape would differ with other prompts: in each draw the curve is centred on its own average
    over checkpoints, as the line is. Without that the band would mostly show that some prompts score higher than
    others, at every checkpoint alike.
    """
    steps = tuple(step for step in arms[0].steps if all(step in arm.steps for arm in arms))
    proxies, golds, query_types = _aligned(arms, steps)
    proxy, gold = np.mean(proxies, axis=0), np.mean(golds, axis=0)
    n = proxy.shape[1]
    if n == 0:
        empty = Curve(*(np.full(len(steps), np.nan) for _ in range(4)))
        return RewardCurves(arms[0].reward, steps, 0, empty, empty, (), {})
    everywhere = np.zeros(n, dtype=np.bool_)
    drawn = resample_means(proxy, gold, everywhere, draws=DRAWS, seed=seed)
    proxy_means, gold_means = proxy.mean(axis=1), gold.mean(axis=1)
    seeds = tuple(
        SeedCurves(
            arm.seed,
            _standardised(proxies[index].mean(axis=1), proxy_means),
            _standardised(golds[index].mean(axis=1), gold_means),
        )
        for index, arm in enumerate(arms)
    )
    by_type = {}
    for query_type in sorted(set(query_types) - {None}, reverse=True, key=str):
        mask = np.array([found == query_type for found in query_types])
        by_type[str(query_type)] = _gains(gold[:, mask], seed)
    return RewardCurves(
        arms[0].reward,
        steps,
        n,
        _shape(proxy_means, drawn.proxy),
        _shape(gold_means, drawn.gold),
        seeds if len(seeds) > 1 else (),
        by_type,
    )


def _aligned(
    arms: Sequence[ArmScores], steps: tuple[int, ...]
) -> tuple[list[FloatArray], list[FloatArray], list[str | None]]:
    """Proxy and gold (k, n) of each arm over the prompts that every arm has scored at every step, and their types."""
    rows = [[arm.steps.index(step) for step in steps] for arm in arms]
    complete: list[dict[str, int]] = []
    for arm, row in zip(arms, rows, strict=True):
        scored: NDArray[np.bool_] = np.all(np.isfinite(arm.proxy[row]) & np.isfinite(arm.gold[row]), axis=0)
        complete.append({arm.prompt_ids[index]: int(index) for index in np.flatnonzero(scored)})
    shared = [prompt_id for prompt_id in complete[0] if all(prompt_id in columns for columns in complete)]
    proxies, golds = [], []
    for arm, row, columns in zip(arms, rows, complete, strict=True):
        chosen = np.ix_(row, [columns[prompt_id] for prompt_id in shared])
        proxies.append(arm.proxy[chosen])
        golds.append(arm.gold[chosen])
    return proxies, golds, [arms[0].query_types[complete[0][prompt_id]] for prompt_id in shared]


def _standardised(series: FloatArray, reference: FloatArray) -> FloatArray:
    """`series` (k,) in standard deviations of `reference` (k,) over checkpoints; zeros where that never moves."""
    deviation = float(np.std(reference))
    if deviation <= 1e-12 * float(np.max(np.abs(reference))):
        return np.zeros_like(series)
    return (series - np.mean(reference)) / deviation


def _band(drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return low, high


def _shape(means: FloatArray, drawn: FloatArray) -> Curve:
    centred = drawn - drawn.mean(axis=1, keepdims=True) + means.mean()
    low, high = _band(centred)
    return Curve(_standardised(means, means), _standardised(low, means), _standardised(high, means), means)


def _gains(gold: FloatArray, seed: int) -> Curve:
    drawn = resample_means(gold, gold, np.zeros(gold.shape[1], dtype=np.bool_), draws=DRAWS, seed=seed).gold
    low, high = _band(drawn - drawn[:, :1])
    means = gold.mean(axis=1)
    return Curve(means - means[0], low, high, means)
