"""The monotonicity of a run: its score files, read through the store, into the analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxygold.analysis.monotonicity import DRAWS, THRESHOLD
from proxygold.analysis.results import RunAnalysis, analyse
from proxygold.analysis.scores import ArmScores, StepScores, arrange
from proxygold.errors import StoreError
from proxygold.records import FloatArray
from proxygold.store import ArmDirectory, RunDirectory

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PART_PREFIX", "RunAnalysis", "analyse_run", "read_arm", "read_arms", "read_step"]

PART_PREFIX = "part/"


def analyse_run(
    run: RunDirectory, *, draws: int | None = None, seed: int | None = None, threshold: float | None = None
) -> RunAnalysis:
    """Analyse every arm of a run that has scores. A setting left None is the study's own, else the default.

    Raises StoreError when this is no run or nothing in it is scored, DataError when an arm lacks step 0.
    """
    settings = run.read_study().get("analysis") or {}
    arms = read_arms(run)
    scored = [arm for arm in arms if arm.steps]
    waiting = [f"{arm.reward} seed {arm.seed}" for arm in arms if not arm.steps]
    if not scored:
        raise StoreError(
            f"{run.path} has no scores yet (a checkpoint needs the proxy's and gold's): there is nothing to analyse. "
            "`proxygold run` with its study makes them; it goes on where it stopped. What was left for gold later, "
            f"`proxygold score {run.path} --gold` scores."
        )
    notes = [f"No checkpoint with proxy and gold scores yet: {', '.join(waiting)}."] if waiting else []
    return analyse(
        scored,
        draws=settings.get("draws", DRAWS) if draws is None else draws,
        seed=settings.get("seed", 0) if seed is None else seed,
        threshold=settings.get("threshold", THRESHOLD) if threshold is None else threshold,
        notes=notes,
    )


def read_arms(run: RunDirectory) -> list[ArmScores]:
    """The scores of every arm that has begun, in the study's order."""
    return [read_arm(arm) for arm in run.arms()]


def read_arm(arm: ArmDirectory) -> ArmScores:
    """The scores of one arm at every checkpoint that has been scored."""
    by_step = {step: read_step(arm, step) for step in arm.score_steps()}
    return arrange(arm.reward, arm.seed, by_step)


def read_step(arm: ArmDirectory, step: int) -> StepScores:
    """The scores of one arm at one checkpoint. Raises StoreError when the file is damaged."""
    table = arm.read_scores(step)
    missing = {"prompt_id", "query_type", "proxy", "gold"} - set(table.column_names)
    if missing:
        raise StoreError(
            f"{arm.scores(step)} lacks the column {', '.join(sorted(missing))}. Delete the file and run the "
            "study again: only what is missing is made."
        )
    return StepScores(
        prompt_ids=table["prompt_id"].to_pylist(),
        query_types=table["query_type"].to_pylist(),
        proxy=_floats(table, "proxy"),
        gold=_floats(table, "gold"),
        parts={
            name.removeprefix(PART_PREFIX): _floats(table, name)
            for name in table.column_names
            if name.startswith(PART_PREFIX)
        },
    )


def _floats(table: pa.Table, name: str) -> FloatArray:
    """A column as float64, null as NaN (an all-null column has no number type of its own)."""
    return np.array([np.nan if value is None else value for value in table[name].to_pylist()], dtype=np.float64)
