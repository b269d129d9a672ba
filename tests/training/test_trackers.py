"""Experiment trackers are told what the log holds: every step once, the same numbers, whatever stopped the training."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import ConfigError, StoreError
from proxygold.store import ArmDirectory
from proxygold.training.trackers import Trackers, check_trackers, flat_numbers

NUMBERS = {"kl": 0.5, "parts": {"LI": 0.25, "AR": None}, "nan_rewards": [{"prompt_id": "p", "reason": "lost"}]}


def record(step: int) -> dict[str, Any]:
    return {"step": step, "reward": step / 8, **NUMBERS, "seconds": {"total": 1.5}}


@pytest.fixture
def arm(tmp_path: Path) -> ArmDirectory:
    return ArmDirectory(tmp_path / "LI" / "seed-0", "LI", 0)


@pytest.fixture
def scalars(arm: ArmDirectory) -> Callable[[], dict[str, list[tuple[int, float]]]]:
    """What tensorboard itself reads from its files: name to steps and values."""
    pytest.importorskip(
        "tensorboard", reason="the tracker 'tensorboard' is not installed: it comes with the extra 'track'"
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read() -> dict[str, list[tuple[int, float]]]:
        events = EventAccumulator(str(arm.path / "tensorboard"))
        events.Reload()
        return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    return read


def train(arm: ArmDirectory, first: int, last: int, names: tuple[str, ...] = ("tensorboard",)) -> None:
    """Log steps and tell them, as a study does."""
    arm.cut_log(first - 1)
    with Trackers(names, arm, "study", "LI-seed-0", {"name": "study"}) as trackers:
        for step in range(first, last + 1):
            arm.append_step(record(step))
            trackers.log(record(step))


def test_the_numbers_of_a_line_are_told_under_their_names() -> None:
    assert flat_numbers(record(4)) == {
        "reward": 0.5,
        "kl": 0.5,
        "parts/LI": 0.25,
        "nan_rewards": 1,
        "seconds/total": 1.5,
    }


def test_tensorboard_gets_what_the_log_holds(make_trainer: Any, arm: ArmDirectory, scalars: Any) -> None:
    trainer = make_trainer()
    with Trackers(["tensorboard"], arm, "study", "run", {}) as trackers:
        trainer.train(3, on_step=trackers.log)
    told = scalars()
    logged = [json.loads(line) for line in trainer.arm.train_log.read_text().splitlines()]
    names = {name for line in logged for name in flat_numbers(line)}
    assert {"reward", "kl", "tokens_max", "parts/W3", "seconds/generate", "nan_rewards"} <= names
    assert told.keys() == names
    for name, values in told.items():
        expected = [(line["step"], flat_numbers(line)[name]) for line in logged]
        assert [step for step, _ in values] == [step for step, _ in expected]
        # Tensorboard keeps float32: 24 bits.
        assert [value for _, value in values] == pytest.approx([value for _, value in expected], rel=2**-24)


def test_a_step_trained_again_is_told_once(arm: ArmDirectory, scalars: Any) -> None:
    train(arm, 1, 5)
    train(arm, 3, 6)  # it was stopped after step 5, and the last checkpoint was that of step 2
    assert scalars()["reward"] == [(step, step / 8) for step in range(1, 7)]


def test_a_tracker_asked_for_later_is_told_the_log_so_far(arm: ArmDirectory, scalars: Any) -> None:
    train(arm, 1, 2, names=())
    assert not arm.trackers_file.exists()
    train(arm, 3, 4)
    assert scalars()["reward"] == [(step, step / 8) for step in range(1, 5)]


def test_a_process_killed_between_telling_and_noting_it_tells_no_step_twice(arm: ArmDirectory, scalars: Any) -> None:
    train(arm, 1, 3)
    state = json.loads(arm.trackers_file.read_text())
    state["tensorboard"]["told"] = 2
    arm.trackers_file.write_text(json.dumps(state))
    train(arm, 4, 4)
    assert scalars()["reward"] == [(step, step / 8) for step in range(1, 5)]


def test_a_deleted_tensorboard_is_made_again(arm: ArmDirectory, scalars: Any) -> None:
    train(arm, 1, 2)
    for file in (arm.path / "tensorboard").iterdir():
        file.unlink()
    (arm.path / "tensorboard").rmdir()
    train(arm, 3, 3)
    assert scalars()["reward"] == [(step, step / 8) for step in range(1, 4)]


def test_a_missing_package_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers([])
    monkeypatch.setattr(sys, "path", [])
    for name in ("trackio", "wandb"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(
        ConfigError, match="names wandb and trackio, not installed here. Run: pip install wandb trackio;"
    ):
        check_trackers(["wandb", "trackio"])


@pytest.mark.parametrize("text", ["{", "[]", '{"wandb": {}}', '{"wandb": {"run": "x", "told": "y"}}'])
def test_a_damaged_record_of_what_was_told_names_the_file(arm: ArmDirectory, text: str) -> None:
    arm.path.mkdir(parents=True)
    arm.trackers_file.write_text(text)
    with pytest.raises(StoreError, match=r"trackers\.json is damaged .*Delete it"):
        Trackers(["wandb"], arm, "study", "run", {})
