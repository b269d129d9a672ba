"""PPO's rollouts: which prompts a step takes, and what happens to one whose reward could not be computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from proxygold.errors import DataError, TrainingError
from proxygold.records import Example, Scored


def test_every_prompt_comes_once_in_each_pass(make_trainer: Any, word_share: Any, prompts: Any) -> None:
    reward = word_share()
    trainer = make_trainer(reward=reward, batch_size=10, samples_per_prompt=2)  # 5 prompts: one pass a step
    trainer.train(2)
    orders = [[example.prompt for example in examples] for examples in reward.seen]
    for order in orders:
        assert order[::2] == order[1::2]
        assert sorted(order[::2]) == sorted(record.prompt for record in prompts)
    assert orders[0] != orders[1]
    example = reward.seen[0][0]
    assert (example.reference, example.query_type) == ("w1", "open_ended")


def test_no_prompts(make_trainer: Any) -> None:
    with pytest.raises(DataError, match="no prompts to train on"):
        make_trainer(prompts=[])


def test_a_rollout_without_reward_is_left_out_of_everything(
    make_trainer: Any, tiny_policy: Any, word_share: Any, prompts: Any
) -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy, word_share(fails=lambda i, _: i == 2), batch_size=16, max_nan_share=0.1)
    batches: list[int] = []
    forward = policy.response_hidden
    policy.response_hidden = lambda batch: batches.append(len(batch)) or forward(batch)
    trainer.train(1)
    (record,) = trainer.arm.read_steps()
    assert batches == [15, 15]
    assert trainer._moments.count == 15
    assert record["reward"] is not None
    ((failure),) = record["nan_rewards"]
    assert failure["reason"] == "no reference"
    assert failure["prompt_id"] in {prompt.id for prompt in prompts}


def test_what_a_missing_reward_was_changes_nothing(
    make_trainer: Any, tiny_policy: Any, word_share: Any, one_thread: Any
) -> None:
    """With and without the row in the batch at all, the gradient is the same: nothing leaks from it."""
    gradients = []
    for value in (math.nan, math.inf):

        class Reward(word_share):
            def score(self, examples: Sequence[Example], value: float = value) -> Scored:
                scored = super().score(examples)
                scored.total[5] = value
                return Scored(scored.total, scored.parts, ("x",) * len(examples))

        policy = tiny_policy()
        trainer = make_trainer(policy, Reward(), name=str(value), batch_size=16)
        trainer.train(2)
        gradients.append([parameter.clone() for parameter in policy.trainable_parameters()])
        assert len(trainer.arm.read_steps()[0]["nan_rewards"]) == 1
    assert all(map(torch.equal, *gradients))
    assert all(torch.isfinite(parameter).all() for parameter in gradients[0])


def test_too_many_missing_rewards_stop_the_run(make_trainer: Any, word_share: Any) -> None:
    trainer = make_trainer(reward=word_share(fails=lambda i, _: i < 2))
    with pytest.raises(
        TrainingError, match=r"step 1: 2 of 8 rewards could not be computed.*\n  prompt p\d: no reference"
    ):
        trainer.train(1)
    assert trainer.arm.read_steps() == []
    # What the error says to do can be done: another share is no other training.
    with pytest.raises(TrainingError, match=r"run again with a higher training\.max_nan_share\. With other prompts"):
        trainer.train(1)
    make_trainer(max_nan_share=0.25).train(1)
    assert make_trainer(max_nan_share=0.5).step == 1
    everything = make_trainer(reward=word_share(fails=lambda *_: True), name="b", max_nan_share=1.0)
    with pytest.raises(TrainingError, match="8 of 8") as told:
        everything.train(1)
    assert "higher" not in str(told.value)  # which would not help
