"""GRPO and RLOO learn: a tiny model rewarded for one token comes to emit it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold.records import Example, PromptRecord, Scored
from proxygold.store import ArmDirectory
from proxygold.training.online import OnlineTrainer
from proxygold.training.online_config import GRPOSettings, RLOOSettings


class ShareOf:
    def __init__(self, word: str) -> None:
        self.word = word

    def score(self, examples: Sequence[Example]) -> Scored:
        share = np.array([example.completion.split().count(self.word) / 8 for example in examples])
        return Scored(share, {"share": share}, (None,) * len(examples))


@pytest.mark.parametrize("kind", [GRPOSettings, RLOOSettings])
def test_a_rewarded_token_is_learned(kind: Any, tiny_policy: Any, tmp_path: Path, one_thread: None) -> None:
    prompts = [PromptRecord(id=str(i), prompt=f"w{i} w{i + 1}") for i in range(1, 9)]
    config = kind(batch_size=32, samples_per_prompt=8, learning_rate=4e-2, beta=0.0, max_new_tokens=8)
    arm = ArmDirectory(tmp_path, "share", 0)
    OnlineTrainer(tiny_policy(), ShareOf("w3"), prompts, config, arm, 0).train(11)
    rewards = [step["reward"] for step in arm.read_steps()]
    kls = [step["kl"] for step in arm.read_steps()]
    assert np.mean(rewards[:3]) < 0.3
    assert np.mean(rewards[-3:]) > 0.5
    assert np.mean(kls[-3:]) > 1
