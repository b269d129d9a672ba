"""The arithmetic of PPO: pure functions on tensors, and two small pieces of running state.

Shapes: n rollouts, T response columns (padded on the right), m response tokens in all, V vocabulary, d hidden
size. `mask` is (n, T) bool, true on response tokens that count. Everything is float32 unless it says otherwise.
Names and details are those of TRL 0.7.4's PPO, which the paper trained with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "AdaptiveKLController",
    "FixedKLController",
    "PolicyLoss",
    "RunningMoments",
    "ValueLoss",
    "advantages_and_returns",
    "masked_mean",
    "masked_whiten",
    "policy_loss",
    "prompt_mean_baseline",
    "scale_scores",
    "sequence_kl",
    "token_logprobs",
    "token_rewards",
    "value_loss",
]

# Rows of logits in memory at a time: 128 x 49,152 float32 are 25 MB. Fewer make the matrix product inefficient.
_CHUNK_ROWS = 128


# --- log-probabilities --------------------------------------------------------------------------------------


def token_logprobs(
    project: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    chunk_rows: int = _CHUNK_ROWS,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of each distribution: two (m,) float32.

    `project` maps hidden states (k, d) to logits (k, V), row by row; `hidden` is (m, d), `targets` (m,). Logits
    exist for `chunk_rows` rows at a time, in the backward pass too: as each log-probability depends on its own
    row only, its gradient with respect to that row, (m, d) in all, is worked out at once and kept instead of
    the logits. The entropy is for the log and carries no gradient.
    """
    needs_gradient = torch.is_grad_enabled() and hidden.requires_grad
    logprobs, entropies, gradients = [], [], []
    for start in range(0, len(targets), chunk_rows):
        rows, target = hidden.detach()[start : start + chunk_rows], targets[start : start + chunk_rows]
        with torch.set_grad_enabled(needs_gradient):
            leaf = rows.requires_grad_(needs_gradient)
            logits = project(leaf)
        # Log-softmax in float32: in bfloat16 a probability has three digits.
        scaled = logits.detach().float()
        if temperature != 1:
            scaled = scaled / temperature
        # Not below -80, which is as good as impossible: from -87 on, probabilities are denormal numbers, with which
        # CPUs are 40 times slower.
        log_p = (scaled - scaled.logsumexp(dim=-1, keepdim=True)).clamp_(min=-80.0)
        p = log_p.exp()
        logprobs.append(log_p.gather(1, target[:, None]).squeeze(1))
        entropies.append(-torch.linalg.vecdot(p, log_p))
        if needs_gradient:
            # d log p(target) / d logits = onehot(target) - p
            slope = p.neg_().scatter_add_(1, target[:, None], torch.ones_like(p[:, :1])) / temperature
            gradients.append(torch.autograd.grad(logits, leaf, slope.to(logits.dtype))[0])
    joined = torch.cat(logprobs)
    if needs_gradient:
        joined = _WithGradient.apply(hidden, joined, torch.cat(gradients))  # type: ignore[no-untyped-call]
    return joined, torch.cat(entropies)


class _WithGradient(torch.autograd.Function):
    """Values (m,) of the rows of `hidden` (m, d), with their known gradient (m, d)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *outputs: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return (outputs[0][:, None] * gradient).to(gradient.dtype), None, None


# --- means over response tokens -----------------------------------------------------------------------------


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean (scalar) of `values` (n, T) where `mask` is true."""
    return (values * mask).sum() / mask.sum()


def masked_whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """`values` (n, T) scaled to variance 1 over the tokens of `mask`, and to mean 0 unless `shift_mean` is off.

    The variance is the unbiased one. A single token cannot be scaled and is only shifted.
    """
    mean = masked_mean(values, mask)
    count = mask.sum()
    variance = (((values - mean) ** 2) * mask).sum() / (count - 1).clamp(min=1)
    scale = torch.rsqrt(variance + 1e-8) if count > 1 else torch.ones_like(variance)
    whitened = (values - mean) * scale
    return whitened if shift_mean else whitened + mean


# --- rewards ------------------------------------------------------------------------------------------------


def token_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Rewards (n, T): -kl_coef (log π - log π_ref) at each token, plus the rollout's score (n,) at its last one."""
    rewards = -kl_coef * (logprobs - ref_logprobs) * mask
    rows = mask.any(dim=1).nonzero().squeeze(1)
    last = mask.sum(dim=1)[rows] - 1
    rewards[rows, last] += scores[rows]
    return rewards


def sequence_kl(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Mean over rollouts with any token of the summed log-ratio: an estimate (scalar) of KL(π || π_ref), in nats."""
    ratio = ((logprobs - ref_logprobs) * mask).sum(dim=1)
    return ratio.sum() / mask.any(dim=1).sum()


def advantages_and_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float, whiten_rewards: bool = False
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates, whitened over the tokens of `mask`, and returns: both (n, T), 0 off the mask.

    δ_t = r_t + γ V_{t+1} - V_t and A_t = δ_t + γ λ A_{t+1}, with V and A 0 after the last token; return = A +
    V, before whitening.
    """
    values, rewards = values * mask, rewards * mask
    if whiten_rewards:
        rewards = masked_whiten(rewards, mask, shift_mean=False) * mask
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    width = rewards.shape[1]
    for t in reversed(range(width)):
        next_value = values[:, t + 1] if t + 1 < width else 0.0
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = delta + gamma * lam * following
        advantages[:, t] = following
    returns = (advantages + values) * mask
    return masked_whiten(advantages, mask) * mask, returns


# --- scores -------------------------------------------------------------------------------------------------


@dataclass
class RunningMoments:
    """Mean and variance of every score so far, in float64."""

    mean: float = 0.0
    variance: float = 1.0
    count: int = 0

    def update(self, scores: Tensor) -> None:
        """Take in finite scores (k,), k >= 1, by the parallel form of Welford's method."""
        new_mean = float(scores.double().mean())
        new_sum = float(((scores.double() - new_mean) ** 2).sum())
        count = scores.numel()
        total = self.count + count
        delta = new_mean - self.mean
        old_sum = self.variance * self.count
        self.variance = (old_sum + new_sum + delta**2 * self.count * count / total) / total
        self.mean += delta * count / total
        self.count = total

    @property
    def std(self) -> float:
        """Unbiased; 1 until there are two scores."""
        return math.sqrt(self.variance * self.count / (self.count - 1)) if self.count > 1 else 1.0


def scale_scores(
    scores: Tensor, moments: RunningMoments, *, normalise: bool, clip: float | None, scale: bool
) -> Tensor:
    """Scores (n,) divided by the running standard deviation, after subtracting the running mean, then clipped
    at ±`clip`.

    Without `scale` they are only clipped. `moments` must have been updated with these scores already.
    """
    if scale:
        shifted = scores - moments.mean if normalise else scores
        scores = shifted / (moments.std + torch.finfo(torch.float32).eps)
    return scores if clip is None else scores.clamp(-clip, clip)


def prompt_mean_baseline(scores: Tensor, valid: Tensor, samples_per_prompt: int) -> Tensor:
    """Scores (n,) less the mean of their prompt's valid ones; rollouts of one prompt are next to each other.

    `valid` is (n,) bool; what is not valid comes back as 0.
    """
    grouped, counted = scores.view(-1, samples_per_prompt), valid.view(-1, samples_per_prompt)
    grouped = torch.where(counted, grouped, 0.0)
    mean = grouped.sum(dim=1, keepdim=True) / counted.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(counted, grouped - mean, 0.0).view(-1)


# --- losses -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """Scalars: the loss, the share of tokens with a clipped ratio, the mean ratio, the mean of 0.5 (log-ratio)²."""

    loss: Tensor
    clipfrac: Tensor
    ratio: Tensor
    approx_kl: Tensor


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, cliprange: float
) -> PolicyLoss:
    """The clipped surrogate: mean over tokens of max(-A ρ, -A clip(ρ, 1 ± cliprange)), ρ = exp(log π - log π_old)."""
    log_ratio = (logprobs - old_logprobs) * mask
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return PolicyLoss(
        loss=masked_mean(torch.maximum(plain, clipped), mask),
        clipfrac=masked_mean((clipped > plain).float(), mask),
        ratio=masked_mean(ratio, mask),
        approx_kl=0.5 * masked_mean(log_ratio**2, mask),
    )


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """Scalars: the loss, and the share of tokens where the clipped error was the larger one."""

    loss: Tensor
    clipfrac: Tensor


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, cliprange_value: float) -> ValueLoss:
    """Half the mean over tokens of the larger squared error: of V, and of V kept within `cliprange_value` of
    its old value.
    """
    clipped = old_values + (values - old_values).clamp(-cliprange_value, cliprange_value)
    plain_error, clipped_error = (values - returns) ** 2, (clipped - returns) ** 2
    return ValueLoss(
        loss=0.5 * masked_mean(torch.maximum(plain_error, clipped_error), mask),
        clipfrac=masked_mean((clipped_error > plain_error).float(), mask),
    )


# --- KL coefficient -----------------------------------------------------------------------------------------


@dataclass
class AdaptiveKLController:
    """Steers the KL coefficient so that KL stays near `target` (Ziegler et al. 2019)."""

    value: float
    target: float
    horizon: float

    def update(self, kl: float, rollouts: int) -> None:
        """Multiply by 1 + clip(KL / target - 1, ±0.2) · rollouts / horizon."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.value *= 1 + error * rollouts / self.horizon


@dataclass
class FixedKLController:
    """A KL coefficient that stays as it is."""

    value: float

    def update(self, kl: float, rollouts: int) -> None:
        """Nothing to do."""
