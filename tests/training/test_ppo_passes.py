"""What PPO's forward passes give: log-probabilities that agree with each other, and no pass that was not needed."""

from __future__ import annotations

from typing import Any

import pytest

MODES = [
    {"ppo_epochs": 1},
    {"ppo_epochs": 2, "mini_batch_size": 4},
    {"ppo_epochs": 1, "samples_per_prompt": 4, "baseline": "prompt_mean"},
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layers", [None, 1])
@pytest.mark.parametrize("mode", MODES)
def test_kl_is_exactly_zero_before_the_first_update(
    make_trainer: Any, tiny_policy: Any, dtype: str, layers: int | None, mode: dict[str, Any]
) -> None:
    trainer = make_trainer(tiny_policy(dtype=dtype, layers=layers), **mode)
    trainer.train(2)
    first, second = trainer.arm.read_steps()
    assert first["kl"] == 0.0
    assert second["kl"] != 0.0


@pytest.mark.parametrize("layers", [None, 1])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_are_those_of_the_first_update(
    make_trainer: Any, tiny_policy: Any, layers: int | None, temperature: float
) -> None:
    trainer = make_trainer(tiny_policy(layers=layers), temperature=temperature, ppo_epochs=1)
    trainer.train(5)
    steps = trainer.arm.read_steps()
    assert max(step["sampler_gap"] for step in steps) < 1e-4
    assert [step["ratio"] for step in steps] == pytest.approx([1.0] * 5, abs=1e-6)
    assert steps[-1]["kl"] != 0.0


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_first_of_several_updates_starts_at_ratio_one(make_trainer: Any, temperature: float) -> None:
    """One epoch on mini-batches, all before the first optimiser step: every ratio is 1 to rounding."""
    trainer = make_trainer(mini_batch_size=2, gradient_accumulation_steps=4, temperature=temperature)
    trainer.train(3)
    for step in trainer.arm.read_steps():
        assert step["ratio"] == pytest.approx(1.0, abs=1e-4)
        assert step["approx_kl"] < 1e-8


def test_only_response_tokens_reach_the_vocabulary_projection(make_trainer: Any, tiny_policy: Any) -> None:
    policy = tiny_policy()
    policy._can_decode = False  # steps of its own would go past the modules that are counted here
    rows: list[int] = []
    handle = policy.causal_lm.get_output_embeddings().register_forward_hook(
        lambda _module, inputs, _output: rows.append(inputs[0].numel() // inputs[0].shape[-1])
    )
    trainer = make_trainer(policy, ppo_epochs=1)
    trainer.train(1)
    handle.remove()
    (step,) = trainer.arm.read_steps()
    tokens = round(step["tokens"] * 8)
    # Once each when it was sampled, for the reference and for the update: no prompt, no padding, no second pass.
    assert sum(rows) == 3 * tokens


def test_the_frozen_layers_run_for_sampling_only(make_trainer: Any, tiny_policy: Any) -> None:
    policy = tiny_policy(layers=1)
    policy._can_decode = False  # steps of its own would go past the modules that are counted here
    calls = [0, 0, 0]

    def count(index: int) -> Any:
        def hook(*_: Any) -> None:
            calls[index] += 1

        return hook

    for index, layer in enumerate(policy.trunk.layers):
        layer.mlp.register_forward_hook(count(index))
    trainer = make_trainer(policy, ppo_epochs=3)
    trainer.train(1)
    steps = int(trainer.arm.read_steps()[0]["tokens_max"])
    # Sampling: the prompts, then every token but the last. Then the reference, and three epochs, the first of which
    # gives the old log-probabilities too.
    assert calls == [steps, steps, steps + 4]
