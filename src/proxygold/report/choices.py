"""The checkpoints that the dev prompts chose, and what validation says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proxygold.analysis.bootstrap import Estimate, percentile_interval, prompt_counts
from proxygold.analysis.monotonicity import DRAWS
from proxygold.analysis.runs import read_arm
from proxygold.records import FloatArray
from proxygold.report.numbers import interval, measured, number
from proxygold.store import ArmDirectory, RunDirectory

__all__ = ["BY", "ChoiceRow", "choice_rows", "choice_sentences"]

# What a choice compares, in words.
BY = {
    "proxy": "mean proxy",
    "gold": "mean gold",
    "gold_lower_bound": "lower end of the interval of gold's gain",
}


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """One training run: what was compared (`by`), the best step of `steps`, and its gain over step 0.

    dev_gain                    of the reward that was compared, on the dev prompts
    proxy_gain, gold_gain       on the validation prompts, which had no part in the choice; None where that step was not
                                validated, or is step 0
    path                        of the checkpoint, None for step 0
    """

    reward: str
    seed: int
    by: str
    step: int
    steps: tuple[int, ...]
    prompts: int
    left_out: int
    mean: float
    dev_gain: Estimate
    proxy_gain: Estimate | None
    gold_gain: Estimate | None
    path: str | None


def choice_rows(run: RunDirectory) -> Iterator[ChoiceRow]:
    """The choices that are made, in the study's order. Raises StoreError for a damaged file."""
    settings = run.read_study().get("analysis") or {}
    draws, seed = settings.get("draws", DRAWS), settings.get("seed", 0)
    for arm in run.arms():
        choice = arm.read_choice()
        if choice is None:
            continue
        step, steps = choice["step"], tuple(choice["steps"])
        proxy_gain, gold_gain = _validation_gains(arm, step, draws, seed)
        yield ChoiceRow(
            reward=arm.reward,
            seed=arm.seed,
            by=choice["by"],
            step=step,
            steps=steps,
            prompts=choice["prompts"],
            left_out=choice["left_out"],
            mean=choice["means"][steps.index(step)],
            dev_gain=_estimate(choice["gain"]),
            proxy_gain=proxy_gain,
            gold_gain=gold_gain,
            path=None if choice["checkpoint"] is None else str(arm.path / choice["checkpoint"]),
        )


def _estimate(record: dict[str, float | None]) -> Estimate:
    found = (record[name] for name in ("value", "low", "high"))
    return Estimate(*(np.nan if value is None else value for value in found))


def _validation_gains(arm: ArmDirectory, step: int, draws: int, seed: int) -> tuple[Estimate | None, Estimate | None]:
    """Proxy's and gold's gain over step 0, paired by prompt, with 95% percentile intervals over prompts."""
    scores = read_arm(arm)
    if not step or not {0, step} <= set(scores.steps):
        return None, None
    rows = [scores.steps.index(0), scores.steps.index(step)]
    proxy, gold = scores.proxy[rows], scores.gold[rows]
    complete = np.isfinite(proxy).all(axis=0) & np.isfinite(gold).all(axis=0)
    if not complete.any():
        return None, None
    both = np.stack([proxy[1] - proxy[0], gold[1] - gold[0]])[:, complete]
    return _mean(both[0], draws, seed), _mean(both[1], draws, seed)


def _mean(values: FloatArray, draws: int, seed: int) -> Estimate:
    n = len(values)
    drawn = np.concatenate([counts @ values / n for counts in prompt_counts(n, draws, seed)])
    return percentile_interval(float(values.mean()), drawn)


def choice_sentences(run: RunDirectory) -> Iterator[str]:
    """A sentence for each choice, to be printed."""
    for row in choice_rows(run):
        found = f"{row.reward}, seed {row.seed}: by {BY[row.by]} on {row.prompts} dev prompts, "
        if row.path is None:
            yield found + f"no checkpoint is better than the start policy (compared: {_listed(row.steps)})."
            continue
        line = (
            f"step {row.step} is the best of {_listed(row.steps)}: {number(row.mean)}, a gain of "
            f"{measured(row.dev_gain, sign=True)} ({interval(row.dev_gain)})"
        )
        if row.gold_gain is not None and row.proxy_gain is not None:
            line += (
                f"; on validation proxy {measured(row.proxy_gain, sign=True)} ({interval(row.proxy_gain)}), "
                f"gold {measured(row.gold_gain, sign=True)} ({interval(row.gold_gain)})"
            )
        yield found + line + f". {row.path}"


def _listed(steps: tuple[int, ...]) -> str:
    return ", ".join(map(str, steps)) if len(steps) <= 12 else f"{len(steps)} steps from {steps[0]} to {steps[-1]}"
