"""A PPO trainer on a tiny policy, five prompts, and a reward that counts words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold.records import Example, PromptRecord, Scored
from proxygold.store import ArmDirectory
from proxygold.training.ppo import PPOTrainer
from proxygold.training.ppo_config import PPOConfig


class WordShare:
    """Share of the words that are `w3`; None where `fails` says so."""

    def __init__(self, fails: Callable[[int, Example], bool] = lambda *_: False) -> None:
        self.fails, self.seen = fails, list[Sequence[Example]]()

    def score(self, examples: Sequence[Example]) -> Scored:
        self.seen.append(examples)
        total = np.array(
            [
                math.nan if self.fails(i, example) else example.completion.split().count("w3") / 6
                for i, example in enumerate(examples)
            ]
        )
        reasons = tuple("no reference" if math.isnan(score) else None for score in total)
        return Scored(total, {"W3": total, "BRANCH": np.full(len(total), math.nan)}, reasons)


@pytest.fixture(scope="session")
def word_share() -> type[WordShare]:
    """The reward's class."""
    return WordShare


@pytest.fixture(scope="session")
def prompts() -> list[PromptRecord]:
    texts = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9", "w1 w1", "w2 w3 w4 w5"]
    return [
        PromptRecord(id=f"p{i}", prompt=text, reference="w1", query_type="open_ended") for i, text in enumerate(texts)
    ]


@pytest.fixture
def make_trainer(tiny_policy: Any, prompts: list[PromptRecord], tmp_path: Path) -> Callable[..., PPOTrainer]:
    """Builds a trainer in `tmp_path / name`; two of the same name share their checkpoints. `changes` go to PPOConfig."""

    def build(
        policy: Any = None,
        reward: Any = None,
        *,
        prompts: list[PromptRecord] = prompts,
        name: str = "arm",
        seed: int = 0,
        **changes: Any,
    ) -> PPOTrainer:
        arm = ArmDirectory(tmp_path / name, name, seed)
        given = {"batch_size": 8, "ppo_epochs": 1, "learning_rate": 1e-2, "max_new_tokens": 6, **changes}
        return PPOTrainer(policy or tiny_policy(), reward or WordShare(), prompts, PPOConfig(**given), arm, seed)

    return build
