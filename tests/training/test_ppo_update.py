"""PPO's update: its gradient is that of the plain formulas, by whichever path; what is not finite stops it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from proxygold.errors import TrainingError


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
        prompt, response = policy.prompts.encode(record.prompt), samples.response(row)
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
        reward[-1] += float(kept["rollouts"].scored.total[row])
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


def test_a_mini_batch_whose_ratio_explodes_is_skipped(make_trainer: Any) -> None:
    trainer = make_trainer(ppo_epochs=3, ratio_threshold=0.5)  # every ratio exceeds this
    before = [parameter.clone() for parameter in trainer.policy.trainable_parameters()]
    trainer.train(1)
    assert trainer.arm.read_steps()[0]["skipped_minibatches"] == 3
    assert all(map(torch.equal, before, trainer.policy.trainable_parameters()))


def test_a_loss_that_is_not_finite_stops_the_run(make_trainer: Any, tiny_policy: Any) -> None:
    policy = tiny_policy()
    trainer = make_trainer(policy)
    trainer.train(1)
    with torch.no_grad():
        policy.value_head.bias.fill_(math.inf)
    before = [parameter.clone() for parameter in policy.trainable_parameters()]
    with pytest.raises(
        TrainingError,
        match=r"(?s)step 2, PPO epoch 1: the loss is not finite \(.*value_loss.*prompts: p\d.*With a lower .*name=…",
    ):
        trainer.train(2)
    assert all(map(torch.equal, before, policy.trainable_parameters()))
    assert trainer.arm.checkpoint_steps() == [1]
