"""The settings of GRPO and RLOO: TRL's defaults, and every one of them arrives there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from trl import GRPOConfig, RLOOConfig

from proxygold.training.online_config import GRPOSettings, RLOOSettings
from proxygold.training.trl_arguments import trl_arguments

KINDS: dict[Any, Any] = {GRPOSettings: GRPOConfig, RLOOSettings: RLOOConfig}
# Where TRL has another name for the same.
NAMES = {"samples_per_prompt": "num_generations", "max_new_tokens": "max_completion_length"}
# The paper's, as for PPO, since adapters want another rate than TRL's 1e-6; and what TRL gives another meaning.
OURS = {"learning_rate", "gradient_accumulation_steps"}


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_trls(kind: Any, tmp_path: Path) -> None:
    theirs = KINDS[kind](output_dir=str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False)
    compared = 0
    for name, field in kind.model_fields.items():
        if name not in OURS and hasattr(theirs, NAMES.get(name, name)):
            assert getattr(theirs, NAMES.get(name, name)) == field.default, name
            compared += 1
    assert compared >= 11


# A value that no default has, for every setting.
OTHER: dict[str, Any] = {
    "batch_size": 48, "mini_batch_size": 8, "gradient_accumulation_steps": 2, "samples_per_prompt": 4,
    "learning_rate": 0.5, "max_grad_norm": 3.0, "max_new_tokens": 7, "temperature": 0.5, "num_iterations": 3,
    "beta": 0.7, "epsilon": 0.3, "epsilon_high": 0.4, "mask_truncated_completions": True, "loss_type": "bnpo",
    "scale_rewards": "none", "importance_sampling_level": "sequence", "normalize_advantages": True,
    "reward_clip_range": (-1.0, 2.0),
}  # fmt: skip
# Read where rollouts are made, for every algorithm (ppo_rollouts.py).
OF_ROLLOUTS = {"max_nan_share", "top_p", "top_k"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_arrives(kind: Any, tiny_policy: Any, tmp_path: Path) -> None:
    def arguments(**changes: Any) -> dict[str, Any]:
        return dict(trl_arguments(kind(**changes), 10, policy, 0, tmp_path).to_dict())

    policy = tiny_policy()
    plain = arguments(batch_size=16)
    for name in kind.model_fields.keys() - OF_ROLLOUTS:
        halves = {"mini_batch_size": 8} if name == "gradient_accumulation_steps" else {}
        changed = arguments(**{"batch_size": 16, **halves, name: OTHER[name]})
        assert changed != plain, name
        theirs = NAMES.get(name, name)
        if theirs in changed:
            assert changed[theirs] == OTHER[name], name
    both = arguments(**{name: value for name, value in OTHER.items() if name in kind.model_fields})
    assert (both["per_device_train_batch_size"], both["generation_batch_size"], both["steps_per_generation"]) == (
        8,
        48,
        6,
    )


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (GRPOSettings, {"samples_per_prompt": 1}, "greater than or equal to 2"),
        (GRPOSettings, {"batch_size": 12}, r"batch_size \(12\) must be a multiple of samples_per_prompt \(8\)"),
        (GRPOSettings, {"loss_type": "cispo"}, "'grpo', 'bnpo', 'dr_grpo' or 'dapo'"),
        (GRPOSettings, {"ppo_epochs": 2}, "ppo_epochs"),
        (RLOOSettings, {"reward_clip_range": (1, 1)}, r"low first; it is \[1.0, 1.0\]"),
        (RLOOSettings, {"beta": -0.1}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_said(kind: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind(**changes)


def test_updates_per_step() -> None:
    settings = GRPOSettings(batch_size=16, mini_batch_size=2, gradient_accumulation_steps=4, num_iterations=3)
    assert settings.updates_per_step == 6  # 16 / (2 x 4) = 2, gone through 3 times


def test_it_loads_without_torch() -> None:
    code = "import sys, proxygold.study.training_settings; assert not {'torch', 'trl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
