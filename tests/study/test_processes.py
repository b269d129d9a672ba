"""A study in several processes leaves the files that one process leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from proxygold.cli.outcome import run_and_print
from proxygold.errors import ConfigError, StoreError
from proxygold.store import RunDirectory
from proxygold.study.loading import load_study
from proxygold.study.progress import StudyProgress
from proxygold.study.stages import run_study
from proxygold.training.processes import Processes

OVERRIDES = ("training.steps=2", "validation.every=2", "rewards={LI: LI}", "data.validation_limit=3")


def quiet() -> StudyProgress:
    return StudyProgress(Console(quiet=True))


def test_two_processes_leave_what_one_leaves(
    study_file: Path, in_processes: Any, one_thread: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """3 validation prompts for 2 processes, so that one answers two of them and scores one."""
    study, runs = load_study(study_file, OVERRIDES), study_file.parent
    alone = run_study(study, runs / "one", quiet()).run

    def task(processes: Processes) -> str:
        # Another directory for each: what is not the first's is not written at all.
        return str(run_and_print(study, runs / f"process-{processes.rank}"))

    in_processes(2, task)
    several = RunDirectory(runs / "process-0" / "tiny")
    assert not (runs / "process-1").exists()
    said = capfd.readouterr().out
    assert said.count("report  ") == 1  # the first one speaks

    files = [{str(path.relative_to(run.path)) for path in run.path.rglob("*")} for run in (alone, several)]
    assert files[0] == files[1]
    for mine, theirs in zip(alone.arms(), several.arms(), strict=True):
        assert theirs.read_rollouts(0) == mine.read_rollouts(0)
        assert [row.prompt_id for row in theirs.read_rollouts(2)] == ["v1", "v2", "v3"]
        assert [step["reward"] for step in theirs.read_steps()] == [step["reward"] for step in mine.read_steps()]
        one, other = mine.read_scores(0), theirs.read_scores(0)
        assert one.column_names == other.column_names
        for column in ("proxy", "gold"):
            np.testing.assert_allclose(np.array(other[column]), np.array(one[column]), atol=1e-6)
        assert other["prompt_id"].to_pylist() == one["prompt_id"].to_pylist()


def test_who_waits_for_the_first_process_learns_why_it_failed(study_file: Path, in_processes: Any) -> None:
    begun = load_study(study_file, OVERRIDES).model_dump(mode="json")
    RunDirectory(study_file.parent / "runs" / "tiny").write_study(begun)
    other = load_study(study_file, (*OVERRIDES, "training.learning_rate=0.1"))

    def task(_: Processes) -> None:
        with pytest.raises(StoreError, match="different study"):
            run_study(other, study_file.parent / "runs", quiet())

    in_processes(2, task)


def test_what_trains_in_one_process_says_so(study_file: Path, in_processes: Any) -> None:
    study = load_study(
        study_file, ("training={algorithm: rloo, steps: 2, batch_size: 4, samples_per_prompt: 2}", "validation.every=2")
    )

    def task(_: Processes) -> None:
        with pytest.raises(ConfigError, match=r"rloo trains in one process, but 2 were launched.*export --to trl"):
            run_study(study, study_file.parent / "runs", quiet())

    in_processes(2, task)
    assert not (study_file.parent / "runs").exists()
