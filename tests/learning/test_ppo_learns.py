"""PPO learns: a tiny model rewarded for one token comes to emit it, and a KL penalty holds it back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold.records import Example, PromptRecord, Scored
from proxygold.store import ArmDirectory
from proxygold.training.ppo import PPOTrainer
from proxygold.training.ppo_config import PPOConfig


class ShareOf:
    def __init__(self, word: str) -> None:
        self.word = word

    def score(self, examples: Sequence[Example]) -> Scored:
        share = np.array([example.completion.split().count(self.word) / 8 for example in examples])
        return Scored(share, {"share": share}, (None,) * len(examples))


def run(tiny_policy: Any, directory: Path, steps: int, **changes: Any) -> list[dict[str, Any]]:
    prompts = [PromptRecord(id=str(i), prompt=f"w{i} w{i + 1}") for i in range(1, 9)]
    settings: dict[str, Any] = {
        "batch_size": 16,
        "learning_rate": 2e-2,
        "init_kl_coef": 0.02,
        "adap_kl_ctrl": False,
        "max_new_tokens": 8,
        **changes,
    }
    arm = ArmDirectory(directory, "share", 0)
    PPOTrainer(tiny_policy(), ShareOf("w3"), prompts, PPOConfig(**settings), arm, 0).train(steps)
    return arm.read_steps()


def mean(steps: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([step[name] for step in steps]))


@pytest.mark.parametrize(
    "changes",
    [
        # Four passes at the demo's rate overshoot: whether the last steps are good ones is then up to rounding.
        {"ppo_epochs": 4, "mini_batch_size": 8, "learning_rate": 3e-3},
        {"ppo_epochs": 1, "samples_per_prompt": 4, "baseline": "prompt_mean"},
    ],
    ids=["paper", "demo"],
)
def test_a_rewarded_token_is_learned(
    tiny_policy: Any, tmp_path: Path, one_thread: Any, changes: dict[str, Any]
) -> None:
    steps = run(tiny_policy, tmp_path, 60, **changes)
    start, end = mean(steps[:3], "reward"), mean(steps[-5:], "reward")
    assert start < 0.3
    # By seed and rounding it ends between 0.6 (five of eight words, and then an early end) and 0.95.
    assert end > 0.5
    assert mean(steps[-5:], "kl") > 1  # and it has moved away from where it began to do so


def test_a_heavy_kl_penalty_keeps_the_policy_where_it_was(tiny_policy: Any, tmp_path: Path, one_thread: Any) -> None:
    changes: dict[str, Any] = {"ppo_epochs": 4, "mini_batch_size": 8}
    free = run(tiny_policy, tmp_path / "free", 30, **changes)
    held = run(tiny_policy, tmp_path / "held", 30, **changes, init_kl_coef=20.0)
    assert mean(held[-5:], "kl") < 0.5 * mean(free[-5:], "kl")
    assert mean(held[-5:], "reward") < mean(free[-5:], "reward")
