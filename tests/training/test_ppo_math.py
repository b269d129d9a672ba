"""Every function of ppo_math against the loops of ppo_reference, on rollouts of different lengths."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from proxygold.training.ppo_math import (
    AdaptiveKLController,
    FixedKLController,
    RunningMoments,
    advantages_and_returns,
    masked_whiten,
    policy_loss,
    prompt_mean_baseline,
    scale_scores,
    sequence_kl,
    token_logprobs,
    token_rewards,
    value_loss,
)


def _load_reference() -> Any:
    spec = importlib.util.spec_from_file_location("ppo_reference", Path(__file__).parent / "ppo_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load_reference()

LENGTHS = [5, 1, 3, 4]
MASK = torch.tensor([[t < length for t in range(max(LENGTHS))] for length in LENGTHS])


def rows(seed: int, spread: float = 1.0) -> list[list[float]]:
    rng = random.Random(seed)
    return [[rng.gauss(0, spread) for _ in range(length)] for length in LENGTHS]


def padded(values: list[list[float]]) -> torch.Tensor:
    # The padding is noise that no result may depend on.
    rng = random.Random(99)
    full = [[*row, *[rng.gauss(0, 9) for _ in range(max(LENGTHS) - len(row))]] for row in values]
    return torch.tensor(full, dtype=torch.float32)


def unpadded(values: torch.Tensor) -> list[list[float]]:
    return [row[:length] for row, length in zip(values.tolist(), LENGTHS, strict=True)]


def assert_rows(got: torch.Tensor, expected: list[list[float]]) -> None:
    for mine, theirs in zip(unpadded(got), expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_token_rewards_put_the_score_on_the_last_token() -> None:
    scores, logprobs, ref = [1.0, -2.0, 0.5, 3.0], rows(1), rows(2)
    got = token_rewards(torch.tensor(scores), padded(logprobs), padded(ref), MASK, 0.2)
    assert_rows(got, reference.token_rewards(scores, logprobs, ref, 0.2))
    assert (got[~MASK] == 0).all()


def test_token_rewards_by_hand() -> None:
    # log-ratios 0.5 and -1; coefficient 0.2; score 3: -0.2*0.5 = -0.1 and -0.2*-1 + 3 = 3.2
    got = token_rewards(
        torch.tensor([3.0]), torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.5, -1.0]]), torch.ones(1, 2).bool(), 0.2
    )
    assert got.tolist() == [pytest.approx([-0.1, 3.2])]


def test_sequence_kl_sums_over_tokens_and_averages_over_rollouts() -> None:
    logprobs, ref = rows(1), rows(2)
    got = sequence_kl(padded(logprobs), padded(ref), MASK)
    assert float(got) == pytest.approx(reference.sequence_kl(logprobs, ref), rel=1e-5)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0), (1.0, 1.0)])
def test_advantages_and_returns(gamma: float, lam: float) -> None:
    rewards, values = rows(3), rows(4)
    got, returns = advantages_and_returns(padded(rewards), padded(values), MASK, gamma=gamma, lam=lam)
    raw = reference.advantages(rewards, values, gamma, lam)
    assert_rows(got, reference.whiten(raw))
    assert_rows(returns, [[a + v for a, v in zip(*pair, strict=True)] for pair in zip(raw, values, strict=True)])
    assert (got[~MASK] == 0).all()
    assert (returns[~MASK] == 0).all()


def test_returns_by_hand() -> None:
    # One token, reward 2, value 0.5: advantage 1.5, return 2, whatever gamma and lam. Two tokens with lam 1 and gamma 1:
    # the return at the first is the sum of rewards, 1 + 4 = 5.
    _, returns = advantages_and_returns(
        torch.tensor([[2.0, 7.0], [1.0, 4.0]]),
        torch.tensor([[0.5, 7.0], [0.3, 0.2]]),
        torch.tensor([[True, False], [True, True]]),
        gamma=1.0,
        lam=1.0,
    )
    assert returns.tolist() == [pytest.approx([2.0, 0.0]), pytest.approx([5.0, 4.0])]


def test_whitened_rewards_keep_their_mean() -> None:
    rewards, values = rows(3), rows(4)
    got, _ = advantages_and_returns(padded(rewards), padded(values), MASK, gamma=1.0, lam=0.95, whiten_rewards=True)
    raw = reference.advantages(reference.whiten(rewards, shift_mean=False), values, 1.0, 0.95)
    assert_rows(got, reference.whiten(raw))


def test_whitening_one_token_does_not_divide_by_zero() -> None:
    assert masked_whiten(torch.tensor([[4.0, 1.0]]), torch.tensor([[True, False]]))[0, 0] == 0


@pytest.mark.parametrize("spread", [0.05, 0.5])
def test_policy_loss(spread: float) -> None:
    old, advantage = rows(5), rows(6)
    new = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(old, rows(7, spread), strict=True)]
    got = policy_loss(padded(new), padded(old), padded(advantage), MASK, 0.2)
    expected = reference.policy_loss(new, old, advantage, 0.2)
    assert [float(x) for x in (got.loss, got.clipfrac, got.ratio, got.approx_kl)] == pytest.approx(expected, rel=1e-4)


def test_policy_loss_survives_any_padding() -> None:
    new, old = torch.tensor([[0.0, 500.0]]), torch.tensor([[0.0, -500.0]])
    got = policy_loss(new, old, torch.ones(1, 2), torch.tensor([[True, False]]), 0.2)
    assert float(got.loss) == -1.0


def test_value_loss() -> None:
    new, old, returns = rows(8), rows(9, 0.3), rows(10)
    got = value_loss(padded(new), padded(old), padded(returns), MASK, 0.2)
    assert (float(got.loss), float(got.clipfrac)) == pytest.approx(
        reference.value_loss(new, old, returns, 0.2), rel=1e-4
    )


def test_running_moments_are_those_of_all_scores_at_once() -> None:
    rng = random.Random(0)
    batches = [[rng.gauss(3, 2) for _ in range(size)] for size in (1, 4, 16, 3)]
    moments = RunningMoments()
    for batch in batches:
        moments.update(torch.tensor(batch, dtype=torch.float64))
    mean, std = reference.mean_and_std([score for batch in batches for score in batch])
    assert (moments.mean, moments.std, moments.count) == pytest.approx((mean, std, 24), rel=1e-9)


def test_a_single_score_is_not_scaled() -> None:
    moments = RunningMoments()
    moments.update(torch.tensor([4.0]))
    assert (moments.mean, moments.std) == (4.0, 1.0)


def test_scores_are_shifted_scaled_and_clipped() -> None:
    moments = RunningMoments()
    moments.update(torch.tensor([0.0, 2.0, 4.0]))  # mean 2, std 2
    scores = torch.tensor([0.0, 3.0, 100.0])

    def scaled(**settings: Any) -> Any:
        return pytest.approx(scale_scores(scores, moments, **settings).tolist(), rel=1e-5)

    assert scaled(scale=True, normalise=True, clip=10.0) == [-1.0, 0.5, 10.0]  # (100 - 2) / 2 = 49 is cut
    assert scaled(scale=True, normalise=False, clip=None) == [0.0, 1.5, 50.0]
    assert scaled(scale=False, normalise=True, clip=10.0) == [0.0, 3.0, 10.0]


def test_prompt_mean_baseline_leaves_invalid_scores_out() -> None:
    # prompt 1: 1, 3, (5 invalid): mean 2. prompt 2: 7 alone: mean 7. prompt 3: none.
    scores = torch.tensor([1.0, 3.0, 5.0, 7.0, 0.0, 0.0, 4.0, 4.0, 4.0])
    valid = torch.tensor([1, 1, 0, 1, 0, 0, 0, 0, 0]).bool()
    assert prompt_mean_baseline(scores, valid, 3).tolist() == [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_adaptive_kl_controller() -> None:
    controller = AdaptiveKLController(0.2, target=6.0, horizon=10_000)
    kls = [0.0, 5.9, 6.3, 40.0, 7.0]
    for kl in kls:
        controller.update(kl, 16)
    assert controller.value == pytest.approx(reference.kl_coefficient(0.2, kls, 6.0, 10_000, 16), rel=1e-12)
    # By hand for one step: KL 12 is 100% over, clipped to 20%: 0.2 * (1 + 0.2 * 16 / 10,000) = 0.200064
    one = AdaptiveKLController(0.2, target=6.0, horizon=10_000)
    one.update(12.0, 16)
    assert one.value == pytest.approx(0.200064, rel=1e-12)


def test_fixed_kl_controller_stays() -> None:
    controller = FixedKLController(0.2)
    controller.update(100.0, 16)
    assert controller.value == 0.2


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk_rows", [3, 1000])
def test_token_logprobs_and_entropy(temperature: float, chunk_rows: int) -> None:
    torch.manual_seed(0)
    hidden, targets, head = torch.randn(7, 4), torch.randint(0, 11, (7,)), torch.nn.Linear(4, 11)
    logprobs, entropies = token_logprobs(head, hidden, targets, temperature=temperature, chunk_rows=chunk_rows)
    scaled = (head(hidden) / temperature).tolist()
    expected = [reference.log_softmax(row)[target] for row, target in zip(scaled, targets.tolist(), strict=True)]
    assert logprobs.tolist() == pytest.approx(expected, abs=1e-5)
    assert entropies.tolist() == pytest.approx([reference.entropy(row) for row in scaled], abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradient_of_token_logprobs_is_autograds(temperature: float) -> None:
    torch.manual_seed(0)
    targets, head, weights = torch.randint(0, 11, (7,)), torch.nn.Linear(4, 11), torch.randn(7)
    head.requires_grad_(False)
    mine, plain = torch.randn(7, 4).requires_grad_(), None
    plain = mine.detach().clone().requires_grad_()
    logprobs, _ = token_logprobs(head, mine, targets, temperature=temperature, chunk_rows=3)
    (logprobs * weights).sum().backward()
    direct = (head(plain) / temperature).log_softmax(-1)[torch.arange(7), targets]
    (direct * weights).sum().backward()
    assert mine.grad is not None
    assert plain.grad is not None
    assert torch.allclose(mine.grad, plain.grad, atol=1e-6)


def test_log_softmax_is_float32_when_logits_are_not() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 11).bfloat16()
    hidden = torch.randn(5, 4).bfloat16()
    logprobs, entropies = token_logprobs(head, hidden, torch.arange(5))
    assert logprobs.dtype == entropies.dtype == torch.float32
    exact = [reference.log_softmax(row)[i] for i, row in enumerate(head(hidden).float().tolist())]
    assert logprobs.tolist() == pytest.approx(exact, abs=1e-5)
