"""Arms that train at the same time: what comes out is what comes of one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import RewardError, TrainingError
from proxygold.store import RunDirectory
from proxygold.study.loading import load_study
from proxygold.study.progress import StudyProgress
from proxygold.study.stages import run_study

# Ends the process that trains, and not the one that started it, which scores the prompts before.
DEADLY = """
import multiprocessing, os, signal
from proxygold import feature

@feature("deadly")
def deadly(example):
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0
"""
WRONG = """
import multiprocessing
from proxygold import feature

@feature("wrong")
def wrong(example):
    return float("nan") if multiprocessing.parent_process() is not None else 1.0
"""


def _log(run: RunDirectory, reward: str, seed: int) -> list[dict[str, Any]]:
    steps = run.arm(reward, seed).read_steps()
    return [{key: value for key, value in step.items() if key != "seconds"} for step in steps]


@pytest.mark.usefixtures("one_thread")
def test_arms_at_the_same_time_are_those_one_after_the_other(study_file: Path, tmp_path: Path) -> None:
    study = load_study(study_file, [])
    runs = {}
    for jobs in (1, 2):
        result = run_study(study, tmp_path / f"runs-{jobs}", StudyProgress(), jobs=jobs)
        runs[jobs] = result.run
        assert result.report is not None
        assert result.report.exists()
    for reward in study.rewards:
        assert _log(runs[2], reward, 0) == _log(runs[1], reward, 0)
        one, two = (run.arm(reward, 0) for run in runs.values())
        assert two.checkpoint_steps() == one.checkpoint_steps()
        for step in one.rollout_steps():
            assert two.read_rollouts(step) == one.read_rollouts(step)
            assert two.read_scores(step) == one.read_scores(step)
    # A second time there is nothing to do.
    before = json.dumps(_log(runs[2], "LI", 0))
    assert json.dumps(_log(run_study(study, tmp_path / "runs-2", StudyProgress(), jobs=2).run, "LI", 0)) == before


def test_one_that_is_killed_says_so_and_the_other_stops(study_file: Path, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    study = load_study(study_file, ["rewards={LI: LI, bad: LI * deadly}", f"plugins=[{tmp_path / 'deadly.py'}]"])
    with pytest.raises(
        TrainingError, match=r"trained bad with seed 0 ended with -9 .* goes on from the last checkpoint"
    ):
        run_study(study, tmp_path / "runs", StudyProgress(), jobs=2)


def test_an_error_of_one_is_the_error_of_the_run(study_file: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    study = load_study(study_file, ["rewards={LI: LI, bad: LI * wrong}", f"plugins=[{tmp_path / 'wrong.py'}]"])
    with pytest.raises((TrainingError, RewardError), match="wrong"):
        run_study(study, tmp_path / "runs", StudyProgress(), jobs=2)
