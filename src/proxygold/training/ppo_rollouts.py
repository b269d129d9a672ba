"""The first half of a PPO step: which prompts, what the policy says to them, and what the reward gives for it.

All randomness is derived from (seed, step), so that a resumed run needs no stored generator to go on exactly as
it would have.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from proxygold.errors import DataError, TrainingError
from proxygold.models.generation import Samples, sample
from proxygold.models.policy import Policy
from proxygold.records import Example, PromptRecord, Scored
from proxygold.training.gathering import gather_samples, gather_scored
from proxygold.training.processes import ALONE, Processes
from proxygold.training.rollout_config import RolloutConfig
from proxygold.training.sharding import in_step

__all__ = ["PromptOrder", "Purpose", "ScoredRollouts", "ScoresExamples", "collect_rollouts", "random_numbers"]


class ScoresExamples(Protocol):
    """What PPO asks of a reward."""

    def score(self, examples: Sequence[Example]) -> Scored: ...


class Purpose(IntEnum):
    """What random numbers are for: each purpose has a stream of its own."""

    PROMPTS = 0
    SAMPLING = 1
    MINI_BATCHES = 2
    DROPOUT = 3


def random_numbers(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """The generator of a run's `seed` for one purpose at one step (or pass over the prompts)."""
    return np.random.default_rng([seed, int(purpose), index])


class PromptOrder:
    """Every prompt once in each pass over the data, in an order drawn anew for each pass."""

    def __init__(self, prompts: Sequence[PromptRecord], per_step: int, seed: int) -> None:
        if not prompts:
            raise DataError("there are no prompts to train on.")
        self._prompts, self._per_step, self._seed = prompts, per_step, seed

    def at(self, step: int) -> list[PromptRecord]:
        """The prompts of step 1, 2, …"""
        count, first = len(self._prompts), (step - 1) * self._per_step
        places = range(first, first + self._per_step)
        orders = {
            epoch: random_numbers(self._seed, Purpose.PROMPTS, epoch).permutation(count)
            for epoch in {place // count for place in places}
        }
        return [self._prompts[int(orders[place // count][place % count])] for place in places]


@dataclass(frozen=True, slots=True)
class ScoredRollouts:
    """n sampled responses with their rewards.

    `records`: the prompt of each. `scores`: (n,) float32 on the policy's device, 0 where there is none.
    `valid`: (n,) bool, whether the reward could be computed. `seconds`: how long sampling and scoring took.
    """

    samples: Samples
    records: tuple[PromptRecord, ...]
    scored: Scored
    scores: Tensor
    valid: Tensor
    seconds: Mapping[str, float]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The rollouts without a reward: prompt id and reason."""
        return [
            {"prompt_id": record.id, "reason": reason or "not a finite number"}
            for record, reason, valid in zip(self.records, self.scored.reasons, self.valid.tolist(), strict=True)
            if not valid
        ]


def collect_rollouts(
    policy: Policy,
    reward: ScoresExamples,
    prompts: Sequence[PromptRecord],
    config: RolloutConfig,
    *,
    seed: int,
    step: int,
    processes: Processes = ALONE,
) -> ScoredRollouts:
    """Sample `config.samples_per_prompt` responses to each prompt and score them.

    Every process samples and scores its share of the prompts, and has all rollouts then. Which random numbers a
    response gets does not depend on how many processes there are. Raises TrainingError when more than
    `config.max_nan_share` of the rewards cannot be computed.
    """
    start = time.perf_counter()
    repeats, share = config.samples_per_prompt, processes.share(len(prompts))
    draws = random_numbers(seed, Purpose.SAMPLING, step).random((config.batch_size, config.max_new_tokens))
    draws = draws[share.start * repeats : share.stop * repeats]
    own = prompts[share.start : share.stop]
    encoded = [policy.prompts.encode(record.prompt) for record in own]
    with in_step(policy, processes):
        samples = sample(policy, encoded, config.sampling, draws, keep_frozen_hidden=True)
    examples = [
        Example(
            prompt=record.prompt,
            completion=policy.decode(_without_end(samples, row)),
            reference=record.reference,
            query_type=record.query_type,
            columns=record.columns,
        )
        for row, record in enumerate(record for record in own for _ in range(repeats))
    ]
    sampled = time.perf_counter()
    scored = gather_scored(reward.score(examples), processes)
    samples = gather_samples(samples, processes, pad_token_id=policy.pad_token_id)
    seconds = {"generate": sampled - start, "score": time.perf_counter() - sampled}

    finite = np.isfinite(scored.total)
    rollouts = ScoredRollouts(
        samples=samples,
        records=tuple(record for record in prompts for _ in range(repeats)),
        scored=scored,
        scores=torch.from_numpy(np.where(finite, scored.total, 0.0)).float().to(policy.device),
        valid=torch.from_numpy(finite).to(policy.device),
        seconds=seconds,
    )
    _check_failures(rollouts, config.max_nan_share, step)
    return rollouts


def _without_end(samples: Samples, row: int) -> list[int]:
    ids = samples.response(row)
    return ids[:-1] if bool(samples.finished[row]) else ids


def _check_failures(rollouts: ScoredRollouts, max_share: float, step: int) -> None:
    failures = rollouts.failures
    if len(failures) <= max_share * len(rollouts.records) and len(failures) < len(rollouts.records):
        return
    shown = "".join(f"\n  prompt {failure['prompt_id']}: {failure['reason']}" for failure in failures[:10])
    more = f"\n  and {len(failures) - 10} more" if len(failures) > 10 else ""
    remedy = "With other prompts or another reward it is another study: give it a name of its own (name=…)."
    if len(failures) < len(rollouts.records):
        remedy = (
            "To go on from the last checkpoint without these rewards, run again with a higher training.max_nan_share. "
            + remedy
        )
    raise TrainingError(
        f"step {step}: {len(failures)} of {len(rollouts.records)} rewards could not be computed, more than "
        f"training.max_nan_share ({max_share:g}) allows:{shown}{more}\n{remedy}"
    )
