"""Which checkpoint of a training run is the best one: told by its answers to the dev prompts.

Dev prompts are neither trained on nor validated on, and are answered as in training (its temperature and length, one
decoding seed for every checkpoint). What validation says of the chosen checkpoint is therefore no part of the choice:
the dev mean of a checkpoint that was chosen for it is too high on average, its validation mean is not.

Step 0, the start policy, is compared too: where training made nothing better, it is what is chosen. (The paper compares
checkpoints alone, by the mean proxy.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from proxygold.analysis.bootstrap import Estimate, percentile_interval, prompt_counts
from proxygold.analysis.runs import read_step
from proxygold.analysis.scores import StepScores
from proxygold.errors import StoreError
from proxygold.records import FloatArray
from proxygold.store import ArmDirectory, RunDirectory

__all__ = ["Choice", "choose", "choose_checkpoints"]

_BY = ("proxy", "gold", "gold_lower_bound")


@dataclass(frozen=True, slots=True)
class Choice:
    """The best of `steps` (k,), ascending from 0.

    by                 what was compared: `proxy`, `gold` or `gold_lower_bound`
    step               the best step, the earliest of equals
    means              (k,) of the reward that was compared, over the dev prompts
    gains              (k,) over step 0, paired by prompt, with 95% percentile intervals over prompts
    prompts, left_out  dev prompts compared; those without a score at some step
    """

    by: str
    step: int
    steps: tuple[int, ...]
    means: tuple[float, ...]
    gains: tuple[Estimate, ...]
    prompts: int
    left_out: int

    @property
    def gain(self) -> Estimate:
        """Of the chosen step."""
        return self.gains[self.steps.index(self.step)]


def choose(scores: FloatArray, steps: Sequence[int], by: str, *, draws: int, seed: int) -> Choice | None:
    """Choose by `scores` (k, n): k checkpoints of the same n prompts, NaN where there is no score.

    A prompt without a score at some checkpoint is left out of all. None when no prompt is left. `gold_lower_bound`
    compares the lower ends of the gains' intervals, the others the means.
    """
    complete = np.isfinite(scores).all(axis=0)
    kept = scores[:, complete]
    n = kept.shape[1]
    if n == 0:
        return None
    gain = kept - kept[0]
    drawn = np.concatenate([counts @ gain.T / n for counts in prompt_counts(n, draws, seed)])  # (draws, k)
    gains = tuple(percentile_interval(float(value), drawn[:, i]) for i, value in enumerate(gain.mean(axis=1)))
    means = kept.mean(axis=1)
    compared = [estimate.low for estimate in gains] if by == "gold_lower_bound" else means
    return Choice(
        by=by,
        step=int(steps[int(np.argmax(compared))]),  # argmax: the first of equals, the one that is nearest to the start
        steps=tuple(steps),
        means=tuple(means.tolist()),
        gains=gains,
        prompts=n,
        left_out=int(np.sum(~complete)),
    )


def choose_checkpoints(run: RunDirectory) -> list[ArmDirectory]:
    """Write the choice of every arm whose dev answers are all scored, as the study asks; returns these arms.

    An arm that still waits for scores (gold's, say) loses the choice that it had. Raises StoreError for damaged files.
    """
    study = run.read_study()
    settings, analysis = study.get("choice"), study.get("analysis") or {}
    if settings is None:
        return []
    by = settings["by"]
    reward = "proxy" if by == "proxy" else "gold"
    chosen = []
    for arm in run.arms():
        steps = arm.dev.scored_steps(reward)
        if 0 not in steps or steps != arm.dev.rollout_steps():
            arm.remove_choice()
            continue
        by_step = {step: read_step(arm.dev, step) for step in steps}
        choice = choose(
            _matrix(by_step, reward), steps, by, draws=analysis.get("draws", 10_000), seed=analysis.get("seed", 0)
        )
        if choice is None:
            raise StoreError(
                f"no dev prompt of {arm.path} has a {reward} score at every checkpoint, so none can be chosen. "
                f"{arm.dev.scores(steps[0]).parent} has the reasons."
            )
        arm.write_choice(_record(arm, choice))
        chosen.append(arm)
    return chosen


def _matrix(by_step: dict[int, StepScores], reward: str) -> FloatArray:
    """(k, n) scores by step and prompt."""
    ids = list(dict.fromkeys(prompt_id for scores in by_step.values() for prompt_id in scores.prompt_ids))
    column = {prompt_id: index for index, prompt_id in enumerate(ids)}
    matrix = np.full((len(by_step), len(ids)), np.nan)
    for row, scores in enumerate(by_step.values()):
        matrix[row, [column[prompt_id] for prompt_id in scores.prompt_ids]] = getattr(scores, reward)
    return matrix


def _record(arm: ArmDirectory, choice: Choice) -> dict[str, Any]:
    """What `choice.json` holds."""
    checkpoint = arm.checkpoint(choice.step).relative_to(arm.path).as_posix() if choice.step else None
    return {**asdict(choice), "gain": asdict(choice.gain), "checkpoint": checkpoint}
