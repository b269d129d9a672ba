"""GRPO and RLOO: TRL's trainers learn from our rollouts what their formulas say, go on exactly, and leave no trace."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from proxygold.errors import ConfigError, TrainingError
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.store import ArmDirectory
from proxygold.training.online import OnlineTrainer
from proxygold.training.online_config import GRPOSettings, RLOOSettings
from proxygold.training.ppo_rollouts import PromptOrder, collect_rollouts

KINDS = {"grpo": GRPOSettings, "rloo": RLOOSettings}


@pytest.fixture
def make_online(tiny_policy: Any, prompts: Any, word_share: Any, tmp_path: Path) -> Callable[..., OnlineTrainer]:
    """Builds a trainer in `tmp_path / name`; two of the same name share their checkpoints."""

    def build(
        algorithm: str, policy: Any = None, reward: Any = None, *, name: str = "arm", seed: int = 0, **changes: Any
    ) -> OnlineTrainer:
        arm = ArmDirectory(tmp_path / name, name, seed)
        given = {"batch_size": 8, "samples_per_prompt": 4, "learning_rate": 1e-2, "max_new_tokens": 6, **changes}
        config = KINDS[algorithm](**given)
        return OnlineTrainer(policy or tiny_policy(), reward or word_share(), prompts, config, arm, seed)

    return build


def move(policy: Policy) -> None:
    """Away from the reference, so that there is a KL with a gradient."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def descend(trainer: OnlineTrainer, rate: float = 1.0) -> list[Tensor]:
    """The gradients of the first step: how far plain gradient descent at rate 1 moves the weights."""
    trainer._optimizer = torch.optim.SGD(trainer._parameters, lr=rate)
    before = [parameter.detach().clone() for parameter in trainer._parameters]
    trainer.train(1)
    return [(old - new.detach()) / rate for old, new in zip(before, trainer._parameters, strict=True)]


def logprobs(policy: Policy, prompt: list[int], response: list[int]) -> Tensor:
    """(T,) of one response, by the model's own forward pass without padding, packing or anything else of ours."""
    logits = policy.causal_lm(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(dim=-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def expected_gradients(trainer: OnlineTrainer, policy: Policy) -> list[Tensor]:
    """The gradients of the first step, worked out from the papers' formulas, one completion after the other.

    At the first update every probability ratio is 1, and its gradient is that of the log-probability.
    """
    config = trainer.config
    step = PromptOrder(trainer._order._prompts, config.prompts_per_step, trainer.seed).at(1)
    rollouts = collect_rollouts(policy, trainer.reward, step, config, seed=trainer.seed, step=1)
    rows = []
    for row, record in enumerate(rollouts.records):
        prompt, response = policy.prompts.encode(record.prompt), rollouts.samples.response(row)
        with torch.no_grad(), policy.reference():
            reference = logprobs(policy, prompt, response)
        reward = float(rollouts.scores[row]) if rollouts.valid[row] else None
        rows.append((logprobs(policy, prompt, response), reference, reward))

    rewards = [
        # RLOO takes the KL off the reward; GRPO has it in the loss.
        None
        if reward is None
        else reward - config.beta * float((now.detach() - reference).sum())
        if isinstance(config, RLOOSettings)
        else reward
        for now, reference, reward in rows
    ]
    advantages = []
    for i, reward in enumerate(rewards):
        first = i - i % config.samples_per_prompt
        group = [other for other in rewards[first : first + config.samples_per_prompt] if other is not None]
        if reward is None:
            advantages.append(0.0)
        elif isinstance(config, RLOOSettings):
            advantages.append(reward - (sum(group) - reward) / (len(group) - 1))
        else:
            mean = sum(group) / len(group)
            spread = math.sqrt(sum((other - mean) ** 2 for other in group) / (len(group) - 1))
            scale = spread + 1e-4 if config.scale_rewards == "group" else 1.0
            advantages.append((reward - mean) / scale)

    count, total = len(rows), sum(len(now) for now, _, _ in rows)
    loss: Any = 0.0
    for (now, reference, _), advantage in zip(rows, advantages, strict=True):
        if isinstance(config, RLOOSettings):
            loss = loss - advantage * now.sum() / count
            continue
        # Schulman's estimator of the KL. TRL multiplies it with the ratio (`use_bias_correction_kl`), whose gradient
        # is that of the log-probability.
        gap = reference - now
        kl = gap.exp() - gap - 1
        tokens = -advantage * now + config.beta * (kl + kl.detach() * now)
        denominator = {"dapo": total, "grpo": len(now) * count, "dr_grpo": count * config.max_new_tokens}
        loss = loss + tokens.sum() / denominator[config.loss_type]
    parameters = [parameter for parameter in policy.adapted.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad(loss, parameters))


@pytest.mark.parametrize(
    ("algorithm", "changes", "layers"),
    [
        ("grpo", {"beta": 0.3}, None),
        ("grpo", {"beta": 0.3, "loss_type": "grpo", "scale_rewards": "none", "mini_batch_size": 2,
                  "gradient_accumulation_steps": 4}, 1),
        ("grpo", {"loss_type": "dr_grpo"}, None),
        ("rloo", {"beta": 0.3}, None),
        ("rloo", {"mini_batch_size": 4, "gradient_accumulation_steps": 2}, 1),
    ],
)  # fmt: skip
def test_the_first_update_is_the_formulas(
    make_online: Any,
    tiny_policy: Any,
    word_share: Any,
    algorithm: str,
    changes: dict[str, Any],
    layers: int | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One of eight completions has no reward: it is not learned from, and its siblings' mean does not know of it."""

    def reward() -> Any:
        return word_share(lambda i, _: i == 2)

    policy, other = tiny_policy(layers=layers), tiny_policy(layers=layers)
    settings = {"max_nan_share": 0.2, "max_grad_norm": 1e9, **changes}
    trainer = make_online(algorithm, policy, reward(), **settings)
    again = make_online(algorithm, other, reward(), name="other", **settings)
    move(policy)
    move(other)
    found, expected = descend(trainer), expected_gradients(again, other)
    assert max(float(gradient.abs().max()) for gradient in expected) > 1e-3
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-6)
    # Our log has it; TRL would print the prompt with all its columns.
    assert len(trainer.arm.read_steps()[0]["nan_rewards"]) == 1
    assert "returned None" not in caplog.text + capfd.readouterr().err


def without_seconds(trainer: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in trainer.arm.read_steps()]


@pytest.mark.parametrize("algorithm", KINDS)
def test_the_first_step_samples_what_ppo_would(make_online: Any, make_trainer: Any, algorithm: str) -> None:
    ppo, online = make_trainer(name="ppo", samples_per_prompt=4, seed=3), make_online(algorithm, name="x", seed=3)
    ppo.train(1)
    online.train(1)
    theirs, ours = without_seconds(ppo)[0], without_seconds(online)[0]
    same = {"step", "reward", "reward_std", "parts", "nan_rewards", "tokens", "tokens_min", "tokens_max", "eos_share"}
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert ours["kl"] == pytest.approx(0, abs=1e-5)  # of the sampler's numbers; PPO computes them anew, and gets 0
    assert ours["entropy"] == pytest.approx(theirs["entropy"], abs=1e-5)
    assert ours["clipfrac"] == 0
    assert ours["kl_coef"] == online.config.beta
    assert ours.keys() - theirs.keys() == {"loss", "frac_reward_zero_std"}
    assert online.arm.read_steps()[0]["seconds"].keys() == {"generate", "score", "reference", "update", "total"}


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        ("grpo", {"beta": 0.1, "num_iterations": 2, "mini_batch_size": 4}),
        ("rloo", {"mini_batch_size": 2, "gradient_accumulation_steps": 2}),
    ],
)
def test_an_interrupted_run_goes_on_exactly(
    make_online: Any, tiny_policy: Any, one_thread: None, algorithm: str, changes: dict[str, Any]
) -> None:
    through = tiny_policy()
    whole = make_online(algorithm, through, name="whole", **changes)
    whole.train(3)

    torch.manual_seed(1)  # nothing may depend on the global state
    first = make_online(algorithm, name="again", **changes)
    first.train(2, save_every=1)
    first.arm.append_step({"step": 3, "lost": True})  # a step that was logged after the last checkpoint
    policy = tiny_policy(perturbed=True)
    resumed = make_online(algorithm, policy, name="again", **changes)
    assert resumed.step == 2
    for parameter in resumed._parameters:
        parameter.grad = torch.full_like(parameter, 7.0)  # what is left of an earlier pass must not count
    resumed.train(3)
    assert without_seconds(resumed) == without_seconds(whole)
    for mine, theirs in zip(policy.trainable_parameters(), through.trainable_parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_updates_of_a_step(make_online: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 rollouts in mini-batches of 2, two an update, gone through 3 times: 6 updates a step, and one line of the log."""
    trainer = make_online("grpo", mini_batch_size=2, gradient_accumulation_steps=2, num_iterations=3)
    taken = []
    trainer._optimizer.register_step_post_hook(lambda *_: taken.append(trainer.step))
    trainer.train(2)
    assert taken == [0] * 6 + [1] * 6
    assert [record["step"] for record in trainer.arm.read_steps()] == [1, 2]
    assert trainer.arm.read_steps()[0]["clipfrac"] > 0  # after the first update there is something to clip


def test_checkpoints_come_when_asked_for_and_old_ones_go(make_online: Any) -> None:
    trainer = make_online("grpo")
    seen = []
    trainer.train(3, save_every=1, keep=[2], on_step=lambda record: seen.append(record["step"]))
    assert (seen, trainer.arm.checkpoint_steps()) == ([1, 2, 3], [2, 3])
    trainer.train(3)  # nothing to do
    assert seen == [1, 2, 3]


def test_a_checkpoint_of_other_settings_is_refused(make_online: Any) -> None:
    make_online("grpo").train(1)
    with pytest.raises(ConfigError, match=r"beta \(was 0.0, is 0.5\)"):
        make_online("grpo", beta=0.5)
    with pytest.raises(ConfigError, match=r"loss_type \(was 'dapo', is None\)"):
        make_online("rloo")


@pytest.mark.parametrize("algorithm", KINDS)
def test_the_model_is_as_it_was(make_online: Any, tiny_policy: Any, algorithm: str) -> None:
    policy = tiny_policy(dtype="bfloat16")
    model = policy.causal_lm
    policy.tokenizer = copy.deepcopy(policy.tokenizer)
    policy.tokenizer.pad_token = None  # as Llama's; TRL gives it one
    model.generation_config.eos_token_id = [0, 5]

    def state() -> Any:
        flags = [(name, module.training) for name, module in policy.adapted.named_modules()]
        hooks = [(name, len(module._forward_pre_hooks)) for name, module in policy.adapted.named_modules()]
        kinds = [(name, parameter.dtype, parameter.requires_grad) for name, parameter in model.named_parameters()]
        ends = ("pad_token_id", "bos_token_id", "eos_token_id")
        config = [getattr(settings, name) for settings in (model.config, model.generation_config) for name in ends]
        config.append(policy.tokenizer.pad_token)
        return list(policy.adapted.peft_config), vars(model).keys() & {"forward"}, flags, hooks, kinds, config

    before = state()
    trainer = make_online(algorithm, policy, beta=0.1)
    trainer.train(2)
    assert state() == before
    assert {parameter.dtype for parameter in trainer._parameters} == {torch.float32}
    assert not (policy.value_head.weight != 0).any()


def test_positions_do_not_count_the_padding(small_gpt2: Policy, make_online: Any, tmp_path: Path) -> None:
    """GPT-2 has a learned vector for each position, so prompts of unequal lengths tell, and dropout of its own: TRL's log-probabilities of what
    our sampler drew are the sampler's, and RLOO's KL per token is ours per completion."""
    trainer = make_online("rloo", small_gpt2, beta=0.1)
    move(small_gpt2)
    logged: dict[str, float] = {}
    line = trainer._line
    trainer._line = lambda means: (logged.update(means), line(means))[1]
    trainer.train(1)
    record = trainer.arm.read_steps()[0]
    assert abs(record["kl"]) > 0.01
    assert logged["kl"] * record["tokens"] == pytest.approx(record["kl"], rel=1e-3)


@pytest.fixture
def small_gpt2(word_tokenizer: Any) -> Policy:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=16, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=0, bos_token_id=None,
        initializer_range=0.3,
    )  # fmt: skip
    lora = LoraSettings(r=4, alpha=8, target_modules=("c_attn",))
    settings = PolicySettings(model="tiny", prompt_template="none", lora=lora)
    return Policy(settings, GPT2LMHeadModel(config).eval(), word_tokenizer)


def test_what_stops_a_run_is_said_and_the_last_checkpoint_is_good(make_online: Any, word_share: Any) -> None:
    trainer = make_online("grpo")
    trainer.train(1)
    hook = trainer._parameters[0].register_hook(lambda gradient: gradient * math.nan)
    before = [parameter.detach().clone() for parameter in trainer._parameters]
    with pytest.raises(TrainingError, match=r"step 2: a gradient is not finite. Nothing was updated with it"):
        trainer.train(3)
    hook.remove()
    assert all(torch.equal(old, new) for old, new in zip(before, trainer._parameters, strict=True))
    trainer.reward = word_share(lambda i, _: i < 4)
    with pytest.raises(TrainingError, match=r"step 2: 4 of 8 rewards could not be computed, more than"):
        trainer.train(3)
    assert make_online("grpo").step == 1
    assert not trainer.policy.adapted.training


def test_a_version_of_trl_without_our_hooks_is_named(make_online: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import GRPOTrainer

    monkeypatch.delattr(GRPOTrainer, "_generate_single_turn")
    with pytest.raises(ConfigError, match=r"TRL .* has no GRPOTrainer._generate_single_turn.*pip install 'trl==1.16"):
        make_online("grpo").train(1)


def test_what_trl_refuses_is_a_mistake_in_the_settings(make_online: Any, tiny_policy: Any) -> None:
    policy = tiny_policy()
    lora = LoraSettings(r=2, target_modules=("q_proj", "lm_head"))
    settings = PolicySettings(model="tiny", prompt_template="none", lora=lora)
    policy = Policy(settings, policy.adapted.unload(), policy.tokenizer)
    with pytest.raises(ConfigError, match=r"TRL's GRPOTrainer cannot train this policy: .*lm_head"):
        make_online("grpo", policy).train(1)
