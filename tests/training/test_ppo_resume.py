"""PPO's checkpoints: the same seed gives the same curve, and an interrupted run goes on exactly."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from proxygold.errors import ConfigError, StoreError
from proxygold.training.ppo import PPOTrainer
from proxygold.whole_files import seal


def without_seconds(trainer: PPOTrainer) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in trainer.arm.read_steps()]


@pytest.mark.parametrize("changes", [{}, {"ppo_epochs": 2, "mini_batch_size": 4}])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_same_seed_same_curve(
    make_trainer: Any, tiny_policy: Any, one_thread: Any, dropout: float, changes: dict[str, Any]
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(ord(name))  # nothing may depend on the global state
        make_trainer(tiny_policy(dropout=dropout), name=name, seed=seed, **changes).train(3)
    a, b, c = (
        without_seconds(make_trainer(name=name, seed=seed, **changes)) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert a == b
    assert a != c


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_interrupted_run_goes_on_exactly(
    make_trainer: Any, tiny_policy: Any, one_thread: Any, dropout: float
) -> None:
    changes: dict[str, Any] = {"ppo_epochs": 2, "mini_batch_size": 4, "samples_per_prompt": 2}
    through, first = tiny_policy(dropout=dropout), tiny_policy(dropout=dropout)
    make_trainer(through, name="through", **changes).train(6)

    interrupted = make_trainer(first, name="again", **changes)
    interrupted.train(3)
    interrupted.train(4, save_every=100)
    assert interrupted.arm.checkpoint_steps() == [3, 4]
    interrupted.arm.append_step({"step": 5, "lost": True})  # a step that was logged after the last checkpoint
    second = tiny_policy(dropout=dropout, perturbed=True)
    resumed = make_trainer(second, name="again", **changes)
    assert resumed.step == 4
    resumed.train(6)

    assert without_seconds(resumed) == without_seconds(make_trainer(through, name="through", **changes))
    for mine, theirs in zip(second.trainable_parameters(), through.trainable_parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_checkpoints_come_when_asked_for_and_at_the_end(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train(5, save_every=2)
    assert trainer.arm.checkpoint_steps() == [2, 4, 5]
    assert {path.name for path in trainer.arm.checkpoint(5).iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "value_head.safetensors",
        "optimizer.safetensors",
        "trainer_state.json",
        "checksums.json",
    }


def test_only_the_last_of_the_checkpoints_in_between_is_kept(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train(5, save_every=1, keep=[3])
    assert trainer.arm.checkpoint_steps() == [3, 5]
    resumed = make_trainer()
    resumed.train(6, save_every=1, keep=[3])
    assert resumed.arm.checkpoint_steps() == [3, 6]
    assert {path.name for path in resumed.arm.checkpoint(6).parent.iterdir()} == {"step-3", "step-6"}


def test_a_run_without_a_checkpoint_starts_over(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.arm.append_step({"step": 1})
    assert make_trainer().step == 0
    assert trainer.arm.read_steps() == []


def test_a_checkpoint_of_other_settings_is_refused(make_trainer: Any) -> None:
    make_trainer().train(1)
    with pytest.raises(ConfigError, match=r"learning_rate \(was 0.01, is 0.5\)"):
        make_trainer(learning_rate=0.5)


def test_so_many_of_the_last_checkpoints_stay_as_asked(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train(5, save_every=1, keep=[2], newest=3)
    assert trainer.arm.checkpoint_steps() == [2, 3, 4, 5]
    trainer.train(6, save_every=1, keep=[2], newest=1)
    assert trainer.arm.checkpoint_steps() == [2, 6]


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        (
            "adapter_model.safetensors",
            cut_short,
            "adapter_model.safetensors has [0-9,]+ bytes where [0-9,]+ were written",
        ),
        ("optimizer.safetensors", flip_a_bit, "optimizer.safetensors holds other bytes than were written"),
        ("value_head.safetensors", Path.unlink, "value_head.safetensors is missing"),
        ("trainer_state.json", flip_a_bit, "trainer_state.json holds other bytes"),
        ("checksums.json", cut_short, "checksums.json is damaged"),
        ("checksums.json", Path.unlink, "checksums.json is missing"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_stepped_over(
    make_trainer: Any, one_thread: Any, file: str, damage: Callable[[Path], object], said: str
) -> None:
    whole = make_trainer(name="whole")
    whole.train(3, save_every=1)
    broken = make_trainer(name="broken")
    broken.train(3, save_every=1)
    damage(broken.arm.checkpoint(3) / file)
    resumed = make_trainer(name="broken")
    assert resumed.step == 2
    assert list(resumed.damaged) == [3]
    assert re.search(said, resumed.damaged[3])
    resumed.train(3, save_every=1)
    assert without_seconds(resumed) == without_seconds(whole)
    for written in whole.arm.checkpoint(3).iterdir():
        assert (resumed.arm.checkpoint(3) / written.name).read_bytes() == written.read_bytes()
    assert make_trainer(name="broken").damaged == {}


def test_with_every_checkpoint_damaged_it_begins_anew(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train(2, save_every=1)
    for step in (1, 2):
        cut_short(trainer.arm.checkpoint(step) / "optimizer.safetensors")
    again = make_trainer()
    assert again.step == 0
    assert list(again.damaged) == [2, 1]
    assert again.arm.read_steps() == []


def test_what_a_killed_process_left_of_a_checkpoint_goes(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train(1)
    checkpoints = trainer.arm.checkpoint(1).parent
    (checkpoints / ".step-7.123.0123abcd.tmp").mkdir()
    (checkpoints / ".step-7.123.0123abcd.tmp" / "adapter_model.safetensors").write_text("half")
    # Its writer died between two renames: this was the checkpoint, and is it again.
    trainer.arm.checkpoint(1).rename(checkpoints / ".step-1.123.0123abcd.old")
    assert make_trainer().step == 1
    assert [path.name for path in checkpoints.iterdir()] == ["step-1"]


def test_a_state_of_another_kind_is_an_error(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train(1)
    state = trainer.arm.checkpoint(1) / "trainer_state.json"
    state.write_text(state.read_text().replace('"kl_coef"', '"coefficient"'))
    seal(state.parent)  # as it was written, by somebody else
    with pytest.raises(StoreError, match=r"step-1 cannot be read.*Delete it"):
        make_trainer()


def test_an_optimiser_that_never_stepped_comes_back(make_trainer: Any) -> None:
    trainer = make_trainer(ratio_threshold=0.5)  # every mini-batch is skipped
    trainer.train(1)
    resumed = make_trainer(ratio_threshold=0.5)
    assert resumed.step == 1
    resumed.train(2)
