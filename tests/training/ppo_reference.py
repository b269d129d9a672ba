"""PPO's arithmetic written out slowly in float64, one number at a time. It imports nothing from the package.

Rollouts are lists: `logprobs[i][t]` belongs to token t of rollout i, which has as many tokens as the list is long.
"""

from __future__ import annotations

import math

Rows = list[list[float]]


def log_softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    total = 0.0
    for logit in logits:
        total += math.exp(logit - top)
    return [logit - top - math.log(total) for logit in logits]


def entropy(logits: list[float]) -> float:
    result = 0.0
    for log_p in log_softmax(logits):
        result -= math.exp(log_p) * log_p
    return result


def token_rewards(scores: list[float], logprobs: Rows, ref_logprobs: Rows, kl_coef: float) -> Rows:
    rewards = []
    for i in range(len(scores)):
        row = []
        for t in range(len(logprobs[i])):
            reward = -kl_coef * (logprobs[i][t] - ref_logprobs[i][t])
            if t == len(logprobs[i]) - 1:
                reward += scores[i]
            row.append(reward)
        rewards.append(row)
    return rewards


def sequence_kl(logprobs: Rows, ref_logprobs: Rows) -> float:
    total = 0.0
    for i in range(len(logprobs)):
        for t in range(len(logprobs[i])):
            total += logprobs[i][t] - ref_logprobs[i][t]
    return total / len(logprobs)


def whiten(rows: Rows, shift_mean: bool = True) -> Rows:
    flat = [value for row in rows for value in row]
    mean = sum(flat) / len(flat)
    variance = sum((value - mean) ** 2 for value in flat) / (len(flat) - 1)
    scale = 1 / math.sqrt(variance + 1e-8)
    back = 0.0 if shift_mean else mean
    return [[(value - mean) * scale + back for value in row] for row in rows]


def advantages(rewards: Rows, values: Rows, gamma: float, lam: float) -> Rows:
    """By the definition of GAE: the sum over later steps k of (gamma lam)^k times the temporal difference there."""
    result = []
    for i in range(len(rewards)):
        length = len(rewards[i])
        row = []
        for t in range(length):
            advantage = 0.0
            for k in range(t, length):
                following = values[i][k + 1] if k + 1 < length else 0.0
                difference = rewards[i][k] + gamma * following - values[i][k]
                advantage += (gamma * lam) ** (k - t) * difference
            row.append(advantage)
        result.append(row)
    return result


def policy_loss(logprobs: Rows, old: Rows, advantage: Rows, cliprange: float) -> tuple[float, float, float, float]:
    """Loss, clip fraction, mean ratio, approximate KL."""
    loss = clipped = ratios = kl = count = 0.0
    for i in range(len(logprobs)):
        for t in range(len(logprobs[i])):
            ratio = math.exp(logprobs[i][t] - old[i][t])
            bounded = min(max(ratio, 1 - cliprange), 1 + cliprange)
            plain, safe = -advantage[i][t] * ratio, -advantage[i][t] * bounded
            loss += max(plain, safe)
            clipped += 1.0 if safe > plain else 0.0
            ratios += ratio
            kl += 0.5 * (logprobs[i][t] - old[i][t]) ** 2
            count += 1
    return loss / count, clipped / count, ratios / count, kl / count


def value_loss(values: Rows, old: Rows, returns: Rows, cliprange: float) -> tuple[float, float]:
    """Loss, clip fraction."""
    loss = clipped = count = 0.0
    for i in range(len(values)):
        for t in range(len(values[i])):
            bounded = min(max(values[i][t], old[i][t] - cliprange), old[i][t] + cliprange)
            plain, safe = (values[i][t] - returns[i][t]) ** 2, (bounded - returns[i][t]) ** 2
            loss += 0.5 * max(plain, safe)
            clipped += 1.0 if safe > plain else 0.0
            count += 1
    return loss / count, clipped / count


def mean_and_std(scores: list[float]) -> tuple[float, float]:
    """Of all scores at once; the standard deviation divides by n - 1."""
    mean = sum(scores) / len(scores)
    return mean, math.sqrt(sum((score - mean) ** 2 for score in scores) / (len(scores) - 1))


def kl_coefficient(value: float, kls: list[float], target: float, horizon: float, rollouts: int) -> float:
    for kl in kls:
        error = kl / target - 1
        if error > 0.2:
            error = 0.2
        if error < -0.2:
            error = -0.2
        value = value * (1 + error * rollouts / horizon)
    return value
