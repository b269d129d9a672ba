"""A study goes on whatever happened to its checkpoints, keeps as many as it is told to, and tells its trackers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from proxygold.errors import ConfigError
from proxygold.store import ArmDirectory, RunDirectory
from proxygold.study.loading import load_study
from proxygold.study.progress import StudyProgress
from proxygold.study.stages import run_study

Run = Callable[..., tuple[ArmDirectory, str]]


@pytest.fixture
def study_file(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    """A study of fifteen words: what is looked at here is the same with more. Gold is never asked."""
    tiny_llama().save_pretrained(tmp_path / "policy")
    word_tokenizer.save_pretrained(tmp_path / "policy")
    for name, first in (("train", 1), ("validation", 6)):
        rows = [{"id": f"{name}{i}", "prompt": f"w{i} w{i + 1}"} for i in range(first, first + 4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = {
        "name": "tiny",
        "policy": {"model": str(tmp_path / "policy"), "dtype": "float32", "prompt_template": "none", "lora": {"r": 2}},
        "data": {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "validation")},
        "rewards": {"LI": "LI"},
        "gold": {"model": "nowhere/gold"},
        "training": {
            "steps": 6,
            "save_every": 1,
            "batch_size": 4,
            "ppo_epochs": 1,
            "learning_rate": 0.05,
            "max_new_tokens": 6,
        },
        "validation": {"every": 2, "max_new_tokens": 6, "batch_size": 4},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


@pytest.fixture
def run(study_file: Path, one_thread: None) -> Run:
    """Runs the study of one reward and six steps with overrides: where its training is, and what a pipe was told."""

    def runs(*overrides: str) -> tuple[ArmDirectory, str]:
        page = io.StringIO()
        study = load_study(study_file, overrides)
        progress = StudyProgress(Console(file=page, width=80))
        result = run_study(study, study_file.parent / "runs", progress, gold_later=True)
        return result.run.arm("LI", 0), page.getvalue()

    return runs


def trained(arm: ArmDirectory) -> dict[str, bytes]:
    """What training and answering left, but for the log."""
    folders = (arm.path / "checkpoints", arm.path / "rollouts")
    return {str(file.relative_to(arm.path)): file.read_bytes() for folder in folders for file in folder.rglob("*.*")}


def log(arm: ArmDirectory) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in arm.read_steps()]


def damage(arm: ArmDirectory, step: int) -> None:
    file = arm.checkpoint(step) / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-3])


def test_answers_that_a_damaged_checkpoint_owes_are_trained_for_again(run: Run) -> None:
    arm, said = run()
    assert "warning" not in said
    assert arm.checkpoint_steps() == [2, 4, 5, 6]  # 2, 4 and 6 are validated; 5 and 6 are the last two
    before, lines = trained(arm), log(arm)
    damage(arm, 4)
    arm.rollouts(4).unlink()
    _, said = run()
    assert f"warning: the checkpoint {arm.checkpoint(4)} is damaged (adapter_model.safetensors has" in said
    assert said.endswith("was stepped over: training goes on from step 2.\n")
    assert trained(arm) == before
    assert log(arm) == lines


def test_the_last_checkpoint_of_a_stopped_run_may_be_damaged(run: Run) -> None:
    arm, _ = run()
    before, lines = trained(arm), log(arm)
    # As if it had been stopped after step 6 was saved, and the disk had lost a part of that.
    arm.rollouts(6).unlink()
    damage(arm, 6)
    _, said = run()
    assert "step-6 is damaged" in said
    assert "goes on from step 5" in said
    assert trained(arm) == before
    assert log(arm) == lines


def test_it_keeps_as_many_checkpoints_as_it_is_told_to(run: Run) -> None:
    few, _ = run("training.keep=1", "training.keep_validated=false", "training.steps=4")
    assert few.checkpoint_steps() == [4]
    assert few.rollout_steps() == [0, 2, 4]
    # What decides only what stays may change when a run goes on.
    again, _ = run("training.keep=2", "training.keep_validated=true", "training.steps=6")
    assert again.checkpoint_steps() == [4, 5, 6]


def test_keep_is_an_option_of_the_command(study_file: Path) -> None:
    from typer.testing import CliRunner

    from proxygold.cli.main import app

    runs = study_file.parent / "runs"
    small = ["training.steps=3", "validation.every=3"]
    done = CliRunner().invoke(app, ["run", str(study_file), "--keep", "3", "--gold-later", "--runs", str(runs), *small])
    assert done.exit_code == 0, done.output
    run = RunDirectory(runs / "tiny")
    assert run.arm("LI", 0).checkpoint_steps() == [1, 2, 3]
    assert run.read_study()["training"]["keep"] == 3


def test_a_tracker_that_is_not_there_stops_it_before_anything_is_made(study_file: Path, run: Run) -> None:
    with pytest.raises(
        ConfigError, match=r"training\.trackers\.0: input should be 'tensorboard', 'wandb' or 'trackio'"
    ):
        run("training.trackers=[tensorbored]")
    assert not (study_file.parent / "runs").exists()


def test_a_study_tells_its_trackers(run: Run) -> None:
    pytest.importorskip(
        "tensorboard", reason="the tracker 'tensorboard' is not installed: it comes with the extra 'track'"
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arm, _ = run("training.trackers=[tensorboard]", "training.steps=2")
    events = EventAccumulator(str(arm.path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("parts/LI")] == [1, 2]
    assert json.loads(arm.trackers_file.read_text())["tensorboard"]["told"] == 2
