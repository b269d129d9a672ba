"""GRPO and RLOO through TRL's trainers, behind the interface of `PPOTrainer`.

TRL's trainer has the loop, the advantages and the loss. What surrounds them is what PPO has: the prompts in the same
order, completions drawn by the same sampler from the same random numbers, rewards scored and checked in the same way,
and checkpoints of the same form. So the first step of a run samples what PPO's would with the same seed. The log, one
JSON line a step, has PPO's names where it is the same thing (`ppo.py`), and:

    kl                     mean of the summed log π - log π_ref as sampled, in nats; whatever `beta` is
    kl_coef                `beta`
    loss, clipfrac         TRL's, means over the step's updates; RLOO clips whole completions, GRPO tokens
    entropy, grad_norm     as PPO's
    frac_reward_zero_std   of the prompts whose completions all have one reward, from which nothing is learned
    seconds                {generate, score, reference, update, total}

A step is a batch of rollouts, as PPO's; TRL counts optimiser steps, of which it may have several.

TRL's trainer lives as long as one call of `train`. What must outlive it is the adapter and the optimiser, which are
ours, and every step derives its random numbers from (seed, step): going on from a checkpoint is what not having
stopped would have been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from proxygold.models.policy import Policy
from proxygold.records import PromptRecord
from proxygold.store import ArmDirectory
from proxygold.training.online_config import GRPOSettings, RLOOSettings
from proxygold.training.online_trl import Steps, train_with_trl
from proxygold.training.ppo_checkpoint import TrainerState, read_state, write_state
from proxygold.training.ppo_math import RunningMoments, sequence_kl
from proxygold.training.ppo_passes import run_pass
from proxygold.training.ppo_rollouts import PromptOrder, ScoredRollouts, ScoresExamples, collect_rollouts
from proxygold.training.step_log import length_record, reward_record

__all__ = ["OnlineTrainer"]

# What TRL logs, by the names that the log has for it.
_LOGGED = {
    "entropy": "entropy",
    "loss": "loss",
    "clipfrac": "clip_ratio/region_mean",
    "grad_norm": "grad_norm",
    "frac_reward_zero_std": "frac_reward_zero_std",
}


class OnlineTrainer:
    """Trains `policy` on `reward`, from the arm's last checkpoint if there is one, else from a fresh adapter."""

    def __init__(
        self,
        policy: Policy,
        reward: ScoresExamples,
        prompts: Sequence[PromptRecord],
        config: GRPOSettings | RLOOSettings,
        arm: ArmDirectory,
        seed: int,
    ) -> None:
        """As `PPOTrainer`. The value head stays as it is: there is none in these algorithms."""
        self.policy, self.reward, self.config, self.arm, self.seed = policy, reward, config, arm, seed
        self.step = 0
        self._order = PromptOrder(prompts, config.prompts_per_step, seed)
        policy.reset(seed)
        self._parameters = [parameter for parameter in policy.adapted.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate)
        arm.sweep_checkpoints()
        saved, self.damaged = arm.last_checkpoint()
        if saved is not None:
            self._resume(arm.checkpoint(saved))
        arm.cut_log(self.step)

    def train(
        self,
        until: int,
        save_every: int | None = None,
        on_step: Callable[[dict[str, Any]], None] | None = None,
        keep: Collection[int] | None = None,
        newest: int = 1,
    ) -> None:
        """As `PPOTrainer.train`. Raises ConfigError when TRL takes the model or the settings for unusable."""

        def done(record: dict[str, Any]) -> None:
            self.step += 1
            self.arm.append_step(record)
            if on_step is not None:
                on_step(record)
            if self.step == until or (save_every is not None and self.step % save_every == 0):
                self.save()
                if keep is not None:
                    self.arm.prune_checkpoints(self.step, keep, newest)

        if self.step < until:
            steps = Steps(
                self.step + 1, until, self._prompt_ids, self._collect, lambda logged: done(self._line(logged))
            )
            train_with_trl(self.policy, self.config, self._optimizer, steps, seed=self.seed, directory=self.arm.path)

    def save(self) -> Path:
        """Write a checkpoint of the current step, whole or not at all."""
        state = TrainerState(self.step, self.seed, self.config.beta, RunningMoments(), self._optimizer.state_dict())
        with self.arm.write_checkpoint(self.step) as directory:
            self.policy.save_adapter(directory)
            write_state(directory, state, self.config)
        return self.arm.checkpoint(self.step)

    def _resume(self, directory: Path) -> None:
        state = read_state(directory, self.config, self.seed)
        self.policy.load_adapter(directory)
        self._optimizer.load_state_dict(state.optimizer)
        self.step = state.step

    # --- one step -------------------------------------------------------------------------------------------

    def _prompt_ids(self, step: int) -> list[str]:
        return [record.id for record in self._order.at(step)]

    def _collect(self, step: int) -> ScoredRollouts:
        start = time.perf_counter()
        rollouts = collect_rollouts(
            self.policy, self.reward, self._order.at(step), self.config, seed=self.seed, step=step
        )
        scored = time.perf_counter()
        self._kl = self._kl_as_sampled(rollouts)
        self._start, self._reference_seconds = start, time.perf_counter() - scored
        self._rollouts = rollouts
        return rollouts

    def _line(self, logged: Mapping[str, float]) -> dict[str, Any]:
        """The log's line of the step whose rollouts were collected last, after its updates."""
        rollouts, total = self._rollouts, time.perf_counter() - self._start
        seconds = {**rollouts.seconds, "reference": self._reference_seconds}
        return {
            "step": self.step + 1,
            **reward_record(rollouts),
            "kl": self._kl,
            "kl_coef": self.config.beta,
            **{ours: logged[theirs] for ours, theirs in _LOGGED.items()},
            **length_record(rollouts),
            "seconds": {**seconds, "update": total - sum(seconds.values()), "total": total},
        }

    @torch.no_grad()
    def _kl_as_sampled(self, rollouts: ScoredRollouts) -> float:
        """Mean over the usable rollouts of the summed log π - log π_ref: the sampler's, and the reference's now."""
        usable = rollouts.valid.nonzero().squeeze(1)
        found = []
        with self.policy.reference():
            for rows in torch.split(usable, self.config.rollouts_per_pass):
                batch = rollouts.samples.batch.rows(rows)
                reference = run_pass(self.policy, batch, self.config.temperature).logprobs
                sampled = rollouts.samples.logprobs[rows][:, : reference.shape[1]]
                found.append(len(rows) * sequence_kl(sampled, reference, batch.response_mask))
        return float(torch.stack(found).sum()) / len(usable)
