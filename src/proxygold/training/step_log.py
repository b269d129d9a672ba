"""What a line of the training log says of a step's rollouts, whichever algorithm learns from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from proxygold.training.ppo_rollouts import ScoredRollouts

__all__ = ["length_record", "reward_record"]


def reward_record(rollouts: ScoredRollouts) -> dict[str, Any]:
    valid = rollouts.valid.cpu().numpy()
    total = rollouts.scored.total[valid]
    parts = {}
    for name, values in rollouts.scored.parts.items():
        known = values[valid][np.isfinite(values[valid])]  # an arm that a branch did not select is NaN
        parts[name] = float(known.mean()) if known.size else math.nan
    return {
        "reward": float(total.mean()),
        "reward_std": float(total.std()),
        "parts": parts,
        "nan_rewards": rollouts.failures,
    }


def length_record(rollouts: ScoredRollouts) -> dict[str, Any]:
    tokens = rollouts.samples.batch.response_mask.sum(dim=1)
    return {
        "tokens": float(tokens.float().mean()),
        "tokens_min": int(tokens.min()),
        "tokens_max": int(tokens.max()),
        "eos_share": float(rollouts.samples.finished.float().mean()),
    }
