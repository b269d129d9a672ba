"""The analysis of several training runs: each reward over its seeds, by query type and by component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from proxygold.analysis.bootstrap import Estimate
from proxygold.analysis.monotonicity import DRAWS, THRESHOLD, Monotonicity, monotonicity
from proxygold.analysis.rank_correlation import order_signs
from proxygold.analysis.scores import ArmScores
from proxygold.analysis.verdict import Verdict, over_seeds

__all__ = ["Component", "RewardAnalysis", "RunAnalysis", "SeedAnalysis", "Spread", "analyse"]


@dataclass(frozen=True, slots=True)
class Component:
    """One node of the reward against gold: `text` is its canonical line.

    `spearman` is between the node's mean and gold's over checkpoints, `gain` the node's last mean minus its
    mean at step 0, both over the `prompts` where the node has a value at every checkpoint (an arm of a branch
    has none on other prompts).
    """

    text: str
    prompts: int
    means: tuple[float, ...]
    spearman: Estimate
    gain: Estimate


@dataclass(frozen=True, slots=True)
class SeedAnalysis:
    """One training run."""

    seed: int
    overall: Monotonicity
    by_query_type: Mapping[str, Monotonicity]
    by_component: tuple[Component, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Spearman's rho over seeds: what training again does to it, which no interval over prompts shows."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RewardAnalysis:
    """One reward over its seeds."""

    reward: str
    verdict: Verdict
    spearman_spread: Spread
    seeds: tuple[SeedAnalysis, ...]


@dataclass(frozen=True, slots=True)
class RunAnalysis:
    """Every reward of a run, with the settings that the numbers depend on."""

    rewards: tuple[RewardAnalysis, ...]
    draws: int
    seed: int
    threshold: float
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, for JSON."""
        return asdict(self)


def analyse(
    arms: Sequence[ArmScores],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    threshold: float = THRESHOLD,
    notes: Sequence[str] = (),
) -> RunAnalysis:
    """Analyse every arm, and each reward over its seeds, in the order given.

    Raises DataError when an arm has no step 0.
    """
    by_reward: dict[str, list[SeedAnalysis]] = {}
    for arm in arms:
        by_reward.setdefault(arm.reward, []).append(_analyse_arm(arm, draws, seed, threshold))
    rewards = tuple(_over_seeds(reward, seeds) for reward, seeds in by_reward.items())
    return RunAnalysis(rewards, draws, seed, threshold, tuple(notes))


def _analyse_arm(arm: ArmScores, draws: int, seed: int, threshold: float) -> SeedAnalysis:
    def measured(proxy: ArmScores) -> Monotonicity:
        return monotonicity(proxy.proxy, proxy.gold, arm.steps, draws=draws, seed=seed, threshold=threshold)

    types = [query_type for query_type in dict.fromkeys(arm.query_types) if query_type is not None]
    by_type = {
        query_type: measured(arm.prompts_where(np.array([t == query_type for t in arm.query_types])))
        for query_type in sorted(types, reverse=True)  # open-ended first, as everywhere
    }
    components = tuple(
        _component(name, values, arm, draws, seed) for name, values in arm.parts.items() if _is_telling(values, arm)
    )
    return SeedAnalysis(arm.seed, measured(arm), by_type, components, arm.notes)


def _is_telling(part: np.ndarray[Any, Any], arm: ArmScores) -> bool:
    """Whether a node says something of its own: not the whole reward again, and not always the same."""
    if np.array_equal(part, arm.proxy, equal_nan=True):
        return False
    complete = np.all(np.isfinite(part) & np.isfinite(arm.gold), axis=0)
    return bool(np.any(complete)) and bool(np.any(order_signs(part[:, complete].mean(axis=1))))


def _component(text: str, part: np.ndarray[Any, Any], arm: ArmScores, draws: int, seed: int) -> Component:
    result = monotonicity(part, arm.gold, arm.steps, draws=draws, seed=seed)
    return Component(text, result.prompts, result.proxy_means, result.spearman, result.proxy_gain)


def _over_seeds(reward: str, seeds: Sequence[SeedAnalysis]) -> RewardAnalysis:
    verdict = over_seeds([seed.overall.verdict for seed in seeds], [seed.seed for seed in seeds])
    values = [seed.overall.spearman.value for seed in seeds]
    spread = Spread(float(np.mean(values)), float(np.min(values)), float(np.max(values)))
    return RewardAnalysis(reward, verdict, spread, tuple(seeds))
