"""The answers that a run has of its checkpoints, as files of answers, with the gold scores that it has of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from proxygold.analysis.runs import read_step
from proxygold.errors import ConfigError, StoreError
from proxygold.evaluation.answers.outputs import GivenOutputs, read_outputs
from proxygold.store import ArmDirectory, RunDirectory

__all__ = ["recorded_gold", "run_outputs"]


def run_outputs(run: RunDirectory, steps: str = "last") -> list[GivenOutputs]:
    """The validation answers of every reward and seed of a run, as `REWARD/seed-N/step-N`.

    `steps`: `last`, `all`, or numbers with commas between them. Raises ConfigError for steps that make no sense or that
    an arm has no answers of, and StoreError when it is no run or has no answers.
    """
    run.read_study()  # raises when this is no run
    arms = [arm for arm in run.arms() if arm.rollout_steps()]
    if not arms:
        raise StoreError(f"{run.path} has no answers of checkpoints yet: `proxygold run` or `validate` makes them.")
    return [_answers(run, arm, step) for arm in arms for step in _steps(arm, steps)]


def recorded_gold(outputs: GivenOutputs) -> dict[str, float] | None:
    """The gold score of each prompt id, NaN where there is none, that a run has for answers of `run_outputs`.

    None for answers from elsewhere, and while gold has not scored them.
    """
    about = outputs.about
    if "run" not in about:
        return None
    arm, step = RunDirectory(Path(about["run"])).arm(about["reward"], about["seed"]), about["step"]
    if step not in arm.score_steps():
        return None
    scores = read_step(arm, step)
    found = dict(zip(scores.prompt_ids, scores.gold.tolist(), strict=True))
    return found if any(not math.isnan(score) for score in found.values()) else None


def _answers(run: RunDirectory, arm: ArmDirectory, step: int) -> GivenOutputs:
    given = read_outputs(arm.rollouts(step), f"{arm.reward}/seed-{arm.seed}/step-{step}")
    told = {"run": str(run.path), "reward": arm.reward, "seed": arm.seed, "step": step}
    return replace(given, about={**given.about, **told})


def _steps(arm: ArmDirectory, wanted: str) -> Sequence[int]:
    there = arm.rollout_steps()
    if wanted == "all":
        return there
    if wanted == "last":
        return there[-1:]
    try:
        steps = [int(step) for step in wanted.split(",")]
    except ValueError as error:
        raise ConfigError(f"--steps is {wanted!r}. Give last, all, or numbers such as 0,500.") from error
    if missing := [step for step in steps if step not in there]:
        raise ConfigError(
            f"{arm.path} has no answers at step {missing[0]}. It has them at {', '.join(map(str, there))}."
        )
    return steps
