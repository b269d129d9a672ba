"""PPO's log: what a line of it holds, and how the KL coefficient in it moves."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest


def test_the_log_has_what_its_docstring_says(make_trainer: Any) -> None:
    trainer = make_trainer()
    seen: list[dict[str, Any]] = []
    trainer.train(2, on_step=seen.append)
    lines = trainer.arm.train_log.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2] == [record["step"] for record in seen]
    record = json.loads(lines[0])
    assert set(record) == {
        *("step", "reward", "reward_std", "parts", "nan_rewards", "kl", "kl_coef", "entropy", "policy_loss"),
        *("value_loss", "clipfrac", "value_clipfrac", "ratio", "approx_kl", "grad_norm", "skipped_minibatches"),
        *("sampler_gap", "tokens", "tokens_min", "tokens_max", "eos_share", "seconds"),
    }
    assert set(record["seconds"]) == {"generate", "score", "forward", "update", "total"}
    assert record["parts"]["W3"] == record["reward"]
    assert record["parts"]["BRANCH"] is None  # not selected anywhere
    assert record["kl_coef"] == 0.2
    assert 1 <= record["tokens_min"] <= record["tokens"] <= record["tokens_max"] <= 6
    assert 0 < record["entropy"] < math.log(16)


def test_the_kl_coefficient_adapts_or_stays(make_trainer: Any) -> None:
    adaptive = make_trainer(name="a", learning_rate=0.05)
    adaptive.train(3)
    first, second, _ = (record["kl_coef"] for record in adaptive.arm.read_steps())
    # KL 0 is below the target by more than 20%: 0.2 * (1 - 0.2 * 8 / 10,000)
    assert (first, second) == (0.2, pytest.approx(0.2 * (1 - 0.00016)))
    fixed = make_trainer(name="b", adap_kl_ctrl=False)
    fixed.train(3)
    assert {record["kl_coef"] for record in fixed.arm.read_steps()} == {0.2}
