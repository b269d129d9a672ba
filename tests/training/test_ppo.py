"""The PPO trainer on a tiny model: what must be exact, what must be masked, what must stop a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from proxygold.errors import ConfigError, DataError, StoreError, TrainingError
from proxygold.records import Example, PromptRecord, Scored
from proxygold.store import ArmDirectory
from proxygold.training.ppo import PPOTrainer
from proxygold.training.ppo_config import PPOConfig

PROMPTS = [
    PromptRecord(id=f"p{i}", prompt=text, reference="w1", query_type="open_ended")
    for i, text in enumerate(["w1 w2 w3", "w4", "w5 w6 w7 w8 w9", "w1 w1", "w2 w3 w4 w5"])
]


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


def config(**changes: Any) -> PPOConfig:
    given = {"batch_size": 8, "ppo_epochs": 1, "learning_rate": 1e-2, "max_new_tokens": 6, **changes}
    return PPOConfig(**given)


@pytest.fixture
def make_trainer(tiny_policy: Any, tmp_path: Path) -> Callable[..., PPOTrainer]:
    def build(
        policy: Any = None, reward: Any = None, *, name: str = "arm", seed: int = 0, **changes: Any
    ) -> PPOTrainer:
        arm = ArmDirectory(tmp_path / name, name, seed)
        return PPOTrainer(policy or tiny_policy(), reward or WordShare(), PROMPTS, config(**changes), arm, seed)

    return build


def without_seconds(trainer: PPOTrainer) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in trainer.arm.read_steps()]


# --- what must be exact ----------------------------------------------------------------------------------------------

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


def test_the_first_of_several_updates_starts_at_ratio_one(make_trainer: Any) -> None:
    """One epoch on mini-batches, all before the first optimiser step: every ratio is 1 to rounding."""
    trainer = make_trainer(mini_batch_size=2, gradient_accumulation_steps=4)
    trainer.train(3)
    for step in trainer.arm.read_steps():
        assert step["ratio"] == pytest.approx(1.0, abs=1e-4)
        assert step["approx_kl"] < 1e-8


def test_only_response_tokens_reach_the_vocabulary_projection(make_trainer: Any, tiny_policy: Any) -> None:
    policy = tiny_policy()
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
    # Sampling: the prompts, then every token but the last. Then reference, old log-probabilities, and three epochs.
    assert calls == [steps, steps, steps + 5]


def test_dropping_the_frozen_pass_changes_no_update(make_trainer: Any, tiny_policy: Any, one_thread: Any) -> None:
    """Against a trainer whose policy computes every layer in every pass."""
    saved, whole = tiny_policy(layers=1), tiny_policy(layers=1)
    whole.frozen.depth = 0
    make_trainer(saved, name="a", ppo_epochs=2).train(2)
    make_trainer(whole, name="b", ppo_epochs=2).train(2)
    for mine, theirs in zip(saved.trainable_parameters(), whole.trainable_parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3)


def test_one_pass_and_accumulated_mini_batches_make_the_same_update(make_trainer: Any, tiny_policy: Any) -> None:
    """Two code paths, one mathematics: the update's own pass as the old one, or old passes and mini-batches.

    Plain gradients are compared, as Adam would blow rounding up; responses are as long as each other, because a mini-batch
    averages over its own tokens.
    """
    gradients = []
    for changes in ({}, {"mini_batch_size": 2, "gradient_accumulation_steps": 4}):
        policy = tiny_policy()
        policy.eos_token_ids = frozenset({99})  # never sampled
        trainer = make_trainer(policy, name=str(len(gradients)), samples_per_prompt=2, max_grad_norm=1e9, **changes)
        trainer._optimizer.step = lambda policy=policy: gradients.append(
            [parameter.grad.clone() for parameter in policy.trainable_parameters()]
        )
        trainer.train(1)
    assert len(gradients) == 2
    assert max(float(gradient.abs().max()) for gradient in gradients[0]) > 1e-3
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("samples_per_prompt", [1, 4])
def test_an_update_is_that_of_the_plain_formulas(make_trainer: Any, tiny_policy: Any, samples_per_prompt: int) -> None:
    """The gradient of a whole step, against autograd through the whole causal model, one unpadded rollout at a time."""
    policy = tiny_policy(layers=2)
    changes = {"use_score_scaling": False, "score_clip": None, "init_kl_coef": 0.3, "max_grad_norm": 1e9}
    trainer = make_trainer(policy, samples_per_prompt=samples_per_prompt, **changes)
    kept: dict[str, Any] = {}
    collect = trainer._training_scores
    trainer._training_scores = lambda rollouts: kept.update(rollouts=rollouts) or collect(rollouts)
    trainer._optimizer.step = lambda: kept.update(
        gradients=[parameter.grad.clone() for parameter in policy.trainable_parameters()]
    )
    torch.manual_seed(0)
    with torch.no_grad():  # so that KL and values are not 0
        for parameter in policy.trainable_parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    trainer.train(1)

    samples = kept["rollouts"].samples
    logprobs, references, values, rewards = [], [], [], []
    for row, record in enumerate(kept["rollouts"].records):
        prompt, response = policy.encode(record.prompt), samples.response(row)
        ids = torch.tensor([prompt + response])
        places = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
        output = policy.causal_lm(input_ids=ids, output_hidden_states=True)
        targets = torch.tensor(response)[:, None]
        logprobs.append(output.logits[0, places].log_softmax(-1).gather(1, targets)[:, 0])
        values.append(policy.value_head(output.hidden_states[-1][0, places])[:, 0])
        with torch.no_grad(), policy.reference():
            references.append(
                policy.causal_lm(input_ids=ids).logits[0, places].log_softmax(-1).gather(1, targets)[:, 0]
            )
        reward = -0.3 * (logprobs[-1] - references[-1]).detach()
        reward[-1] += samples_score(kept["rollouts"], row)
        rewards.append(reward)
    advantages, returns = [], []
    for reward, value in zip(rewards, (value.detach() for value in values), strict=True):
        following, nexts = 0.0, [*value[1:].tolist(), 0.0]
        advantage = []
        for t in reversed(range(len(reward))):
            following = float(reward[t]) + nexts[t] - float(value[t]) + 0.95 * following
            advantage.insert(0, following)
        advantages.append(torch.tensor(advantage))
        returns.append(advantages[-1] + value)
    flat = torch.cat(advantages)
    flat = (flat - flat.mean()) / flat.std()
    new = torch.cat(logprobs)
    loss = -(flat * (new - new.detach()).exp()).mean() + 0.5 * ((torch.cat(values) - torch.cat(returns)) ** 2).mean()
    parameters = policy.trainable_parameters()
    expected = torch.autograd.grad(loss, parameters)
    assert trainer.arm.read_steps()[0]["kl"] == pytest.approx(
        float(torch.stack([(a - b).sum() for a, b in zip(logprobs, references, strict=True)]).mean().detach()), abs=1e-4
    )
    for mine, theirs in zip(kept["gradients"], expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4, rtol=1e-3)


def samples_score(rollouts: Any, row: int) -> float:
    return float(rollouts.scored.total[row])


# --- the same seed, the same curve -----------------------------------------------------------------------------------


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
        "optimizer.pt",
        "trainer_state.json",
    }


def test_a_run_without_a_checkpoint_starts_over(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.arm.append_step({"step": 1})
    assert make_trainer().step == 0
    assert trainer.arm.read_steps() == []


def test_a_checkpoint_of_other_settings_is_refused(make_trainer: Any) -> None:
    make_trainer().train(1)
    with pytest.raises(ConfigError, match=r"learning_rate \(was 0.01, is 0.5\)"):
        make_trainer(learning_rate=0.5)


def test_a_damaged_checkpoint_is_said(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train(1)
    state = trainer.arm.checkpoint(1) / "trainer_state.json"
    state.write_text(state.read_text()[:40])
    with pytest.raises(StoreError, match=r"step-1 cannot be read.*Delete it"):
        make_trainer()


def test_every_prompt_comes_once_in_each_pass(make_trainer: Any) -> None:
    reward = WordShare()
    trainer = make_trainer(reward=reward, batch_size=10, samples_per_prompt=2)  # 5 prompts: one pass a step
    trainer.train(2)
    orders = [[example.prompt for example in examples] for examples in reward.seen]
    for order in orders:
        assert order[::2] == order[1::2]
        assert sorted(order[::2]) == sorted(record.prompt for record in PROMPTS)
    assert orders[0] != orders[1]
    example = reward.seen[0][0]
    assert (example.reference, example.query_type) == ("w1", "open_ended")


def test_no_prompts(tiny_policy: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prompts to train on"):
        PPOTrainer(tiny_policy(), WordShare(), [], config(), ArmDirectory(tmp_path, "a", 0), 0)


# --- the log ---------------------------------------------------------------------------------------------------------


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


# --- rewards that are missing, losses that are not finite ------------------------------------------------------------


def test_a_rollout_without_reward_is_left_out_of_everything(make_trainer: Any, tiny_policy: Any) -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy, WordShare(fails=lambda i, _: i == 2), batch_size=16, max_nan_share=0.1)
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
    assert failure["prompt_id"] in {prompt.id for prompt in PROMPTS}


def test_what_a_missing_reward_was_changes_nothing(make_trainer: Any, tiny_policy: Any, one_thread: Any) -> None:
    """With and without the row in the batch at all, the gradient is the same: nothing leaks from it."""
    gradients = []
    for value in (math.nan, math.inf):

        class Reward(WordShare):
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


def test_too_many_missing_rewards_stop_the_run(make_trainer: Any) -> None:
    trainer = make_trainer(reward=WordShare(fails=lambda i, _: i < 2))
    with pytest.raises(
        TrainingError, match=r"step 1: 2 of 8 rewards could not be computed.*\n  prompt p\d: no reference"
    ):
        trainer.train(1)
    assert trainer.arm.read_steps() == []
    everything = make_trainer(reward=WordShare(fails=lambda *_: True), name="b", max_nan_share=1.0)
    with pytest.raises(TrainingError, match="8 of 8"):
        everything.train(1)


def test_a_loss_that_is_not_finite_stops_the_run(make_trainer: Any, tiny_policy: Any) -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy)
    trainer.train(1)
    with torch.no_grad():
        policy.value_head.bias.fill_(math.inf)
    before = [parameter.clone() for parameter in policy.trainable_parameters()]
    with pytest.raises(
        TrainingError, match=r"(?s)step 2, PPO epoch 1: the loss is not finite \(.*value_loss.*prompts: p\d"
    ):
        trainer.train(2)
    assert all(map(torch.equal, before, policy.trainable_parameters()))
    assert trainer.arm.checkpoint_steps() == [1]


def test_a_mini_batch_whose_ratio_explodes_is_skipped(make_trainer: Any) -> None:
    trainer = make_trainer(ppo_epochs=3, ratio_threshold=0.5)  # every ratio exceeds this
    before = [parameter.clone() for parameter in trainer.policy.trainable_parameters()]
    trainer.train(1)
    assert trainer.arm.read_steps()[0]["skipped_minibatches"] == 3
    assert all(map(torch.equal, before, trainer.policy.trainable_parameters()))


def test_gradients_are_clipped(make_trainer: Any, tiny_policy: Any) -> None:
    norms = []
    for limit in (1e9, 0.01):
        policy = tiny_policy()
        trainer = make_trainer(policy, name=str(limit), max_grad_norm=limit)
        trainer._optimizer.step = lambda policy=policy: norms.append(
            math.sqrt(sum(float((parameter.grad**2).sum()) for parameter in policy.trainable_parameters()))
        )
        trainer.train(1)
    unclipped = trainer.arm.read_steps()[0]["grad_norm"]
    assert norms == [pytest.approx(unclipped, rel=1e-4), pytest.approx(0.01, rel=1e-3)]
    assert unclipped > 0.02
