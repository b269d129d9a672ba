"""PPO's settings: the paper's defaults, what does not go together, and that none is dead."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

import proxygold
from proxygold.training.ppo_config import PPOConfig


def test_defaults_are_the_papers() -> None:
    config = PPOConfig()
    assert (config.batch_size, config.ppo_epochs, config.learning_rate) == (16, 4, 1e-5)
    assert (config.init_kl_coef, config.target, config.horizon, config.adap_kl_ctrl) == (0.2, 6.0, 10_000.0, True)
    assert (config.gamma, config.lam, config.cliprange, config.cliprange_value, config.vf_coef) == (
        1,
        0.95,
        0.2,
        0.2,
        1,
    )
    assert (config.use_score_scaling, config.use_score_norm, config.score_clip) == (True, True, 10.0)
    assert (config.max_new_tokens, config.temperature, config.top_p, config.top_k) == (512, 1.0, 1.0, 0)
    assert (config.samples_per_prompt, config.baseline, config.ratio_threshold) == (1, "none", 10.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batch_size": 6, "samples_per_prompt": 4},
            r"batch_size \(6\) must be a multiple of samples_per_prompt \(4\)",
        ),
        ({"mini_batch_size": 6}, r"must be a multiple of mini_batch_size x gradient_accumulation_steps \(6 x 1\)"),
        ({"mini_batch_size": 8, "gradient_accumulation_steps": 4}, r"\(8 x 4\)"),
        ({"baseline": "prompt_mean"}, "subtract each score from itself"),
        ({"learning_rat": 1e-4}, "learning_rat"),
        ({"temperature": 0}, "greater than 0"),
    ],
)
def test_what_does_not_go_together_is_said(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PPOConfig(**changes)  # type: ignore[arg-type]


def test_every_setting_is_read_somewhere() -> None:
    """A field counts as read when the training code takes it from a config as an attribute."""
    training = Path(proxygold.__file__).parent / "training"
    read: set[str] = set()
    for file in [*training.glob("ppo*.py"), training / "rollout_config.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            owner = getattr(node, "value", None)
            if isinstance(node, ast.Attribute) and (
                (isinstance(owner, ast.Name) and owner.id in {"config", "self"})
                or (isinstance(owner, ast.Attribute) and owner.attr == "config")
            ):
                read.add(node.attr)
    assert set(PPOConfig.model_fields) - read == set()


def test_it_loads_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys, proxygold.training.ppo_config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
