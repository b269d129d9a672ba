"""PPO with a value head and a callable reward: the paper's method.

A step samples rollouts, scores them, compares the policy with the reference, and updates adapter and value
head. What it logs, one JSON line a step (means over rollouts, or over response tokens and then over the
mini-batches of all epochs):

    step
    reward, reward_std, parts       means over the rollouts; parts is {node: mean}
    nan_rewards                     [{prompt_id, reason}] of the rollouts without a reward
    kl                              mean of the summed log π - log π_ref, before the update, in nats
    kl_coef                         the coefficient that this step's rewards were made with
    entropy                         of the policy's distribution at a response token, in nats
    policy_loss, value_loss, clipfrac, value_clipfrac, ratio, approx_kl
    grad_norm                       before clipping
    skipped_minibatches             those whose ratio exceeded `ratio_threshold`
    sampler_gap                     mean |log π when sampled - log π recomputed|: rounding, nothing else
    tokens, tokens_min, tokens_max  of a response, end of sequence included
    eos_share                       of the responses that ended by themselves
    seconds                         {generate, score, forward, update, total}

Three passes are saved where that changes no number. Below the lowest adapted layer nothing is computed:
sampling did that. Only response tokens reach the vocabulary projection. And when a mini-batch is all the rollouts
of a step, the first epoch's own forward pass gives the old log-probabilities and values.

Of several processes (`processes.py`) each samples, scores and passes over its share of the rollouts. All batch sizes
count the rollouts of all of them, so that the curve is the one of a single process, to rounding; but for LoRA dropout,
whose random numbers are each process's own. The first process writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxygold.errors import ConfigError, TrainingError
from proxygold.models.policy import Policy
from proxygold.models.token_batch import TokenBatch
from proxygold.records import PromptRecord
from proxygold.store import ArmDirectory
from proxygold.training.ppo_checkpoint import TrainerState, read_state, write_state
from proxygold.training.ppo_config import PPOConfig
from proxygold.training.ppo_math import (
    AdaptiveKLController,
    FixedKLController,
    RunningMoments,
    advantages_and_returns,
    policy_loss,
    prompt_mean_baseline,
    scale_scores,
    sequence_kl,
    token_rewards,
    value_loss,
)
from proxygold.training.ppo_passes import Pass, run_pass, run_shared_pass
from proxygold.training.ppo_rollouts import (
    PromptOrder,
    Purpose,
    ScoredRollouts,
    ScoresExamples,
    collect_rollouts,
    random_numbers,
)
from proxygold.training.processes import current_processes
from proxygold.training.step_log import length_record, reward_record

__all__ = ["PPOTrainer"]


@dataclass(frozen=True, slots=True)
class _Experience:
    """What an update learns from: k usable rollouts, all (k, T)."""

    batch: TokenBatch
    prompt_ids: tuple[str, ...]
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class PPOTrainer:
    """Trains `policy` on `reward`, from the arm's last checkpoint if there is one, else from a fresh adapter."""

    def __init__(
        self,
        policy: Policy,
        reward: ScoresExamples,
        prompts: Sequence[PromptRecord],
        config: PPOConfig,
        arm: ArmDirectory,
        seed: int,
    ) -> None:
        """`damaged` tells, by step, what is wrong with the checkpoints that were stepped over.

        Raises DataError without prompts, and StoreError or ConfigError for a checkpoint that cannot be gone on from.
        """
        self.policy, self.reward, self.config, self.arm, self.seed = policy, reward, config, arm, seed
        self.step = 0
        self._processes = current_processes()
        if config.prompts_per_step < self._processes.count:
            raise ConfigError(
                f"a step has {config.prompts_per_step} prompts (training.batch_size / samples_per_prompt), fewer than "
                f"the {self._processes.count} processes that were launched. Launch fewer, or raise training.batch_size."
            )
        self._order = PromptOrder(prompts, config.prompts_per_step, seed)
        self._moments = RunningMoments()
        self._kl: AdaptiveKLController | FixedKLController = (
            AdaptiveKLController(config.init_kl_coef, config.target, config.horizon)
            if config.adap_kl_ctrl
            else FixedKLController(config.init_kl_coef)
        )
        policy.reset(seed)
        self._parameters = policy.trainable_parameters()
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.learning_rate)
        self._processes.from_first(arm.sweep_checkpoints)
        saved, self.damaged = self._processes.from_first(arm.last_checkpoint)
        if saved is not None:
            self._resume(arm.checkpoint(saved))
        self._processes.from_first(lambda: arm.cut_log(self.step))

    def train(
        self,
        until: int,
        save_every: int | None = None,
        on_step: Callable[[dict[str, Any]], None] | None = None,
        keep: Collection[int] | None = None,
        newest: int = 1,
    ) -> None:
        """Go on until step `until`, with a checkpoint there and at each multiple of `save_every`.

        `on_step` is called with each line of the log. `keep` is the steps whose checkpoints stay, beside the
        `newest` last ones: any other is removed when a later one is written; None keeps all. Raises TrainingError when
        a loss is not finite or too many rewards cannot be computed; the last checkpoint stays good.
        """
        while self.step < until:
            record = self._take_step(self.step + 1)
            self.step += 1
            if self._processes.first:
                self.arm.append_step(record)
            if on_step is not None:
                on_step(record)
            if self.step == until or (save_every is not None and self.step % save_every == 0):
                self.save()
                if keep is not None and self._processes.first:
                    self.arm.prune_checkpoints(self.step, keep, newest)

    def save(self) -> Path:
        """Write a checkpoint of the current step, whole or not at all."""
        self._processes.check_same(self._parameters, f"step {self.step}: the trained weights")
        self._processes.from_first(self._write_checkpoint)
        return self.arm.checkpoint(self.step)

    def _write_checkpoint(self) -> None:
        state = TrainerState(self.step, self.seed, self._kl.value, self._moments, self._optimizer.state_dict())
        with self.arm.write_checkpoint(self.step) as directory:
            self.policy.save_adapter(directory)
            write_state(directory, state, self.config)

    def _resume(self, directory: Path) -> None:
        state = read_state(directory, self.config, self.seed)
        self.policy.load_adapter(directory)
        self._optimizer.load_state_dict(state.optimizer)
        self.step, self._kl.value, self._moments = state.step, state.kl_coef, state.moments

    # --- one step -------------------------------------------------------------------------------------------

    def _take_step(self, step: int) -> dict[str, Any]:
        start = time.perf_counter()
        config, prompts = self.config, self._order.at(step)
        rollouts = collect_rollouts(
            self.policy, self.reward, prompts, config, seed=self.seed, step=step, processes=self._processes
        )
        scores = self._training_scores(rollouts)
        # A rollout without a reward goes no further: neither the loss nor any statistic knows of it.
        usable = rollouts.valid.nonzero().squeeze(1)
        batch = rollouts.samples.batch.rows(usable)
        mask = batch.response_mask

        collected = time.perf_counter()
        with torch.no_grad(), self.policy.reference():
            reference, _ = run_shared_pass(self.policy, batch, config.temperature, self._processes)
        # With mini-batches of all rollouts, the first epoch's pass is the old one too. Not with dropout, which
        # would make the old log-probabilities those of no policy that was sampled from.
        reused = config.rollouts_per_pass >= len(batch) and self.policy.settings.lora.dropout == 0
        with torch.set_grad_enabled(reused):
            current, own = run_shared_pass(self.policy, batch, config.temperature, self._processes)
        old_logprobs, old_values = current.logprobs, current.values

        kl = float(sequence_kl(old_logprobs, reference.logprobs, mask))
        kl_coef = self._kl.value
        rewards = token_rewards(scores[usable], old_logprobs, reference.logprobs, mask, kl_coef)
        advantages, returns = advantages_and_returns(
            rewards, old_values, mask, gamma=config.gamma, lam=config.lam, whiten_rewards=config.whiten_rewards
        )
        self._kl.update(kl, config.batch_size)
        ids = tuple(rollouts.records[row].id for row in usable.tolist())
        experience = _Experience(batch, ids, old_logprobs, old_values, advantages, returns)

        passed = time.perf_counter()
        losses = self._update(step, experience, own if reused else None)
        end = time.perf_counter()
        sampled = rollouts.samples.logprobs[usable][:, : mask.shape[1]]
        return {
            "step": step,
            **reward_record(rollouts),
            "kl": kl,
            "kl_coef": kl_coef,
            "entropy": current.entropy,
            **losses,
            "sampler_gap": float((sampled - old_logprobs)[mask].abs().mean()),
            **length_record(rollouts),
            "seconds": {
                **rollouts.seconds,
                "forward": passed - collected,
                "update": end - passed,
                "total": end - start,
            },
        }

    def _training_scores(self, rollouts: ScoredRollouts) -> Tensor:
        """(n,) scores as the loss sees them: scaled by the running moments, clipped, less their prompt's mean."""
        config = self.config
        self._moments.update(rollouts.scores[rollouts.valid])
        scores = scale_scores(
            rollouts.scores,
            self._moments,
            scale=config.use_score_scaling,
            normalise=config.use_score_norm,
            clip=config.score_clip,
        )
        if config.baseline == "prompt_mean":
            scores = prompt_mean_baseline(scores, rollouts.valid, config.samples_per_prompt)
        return scores

    def _update(self, step: int, experience: _Experience, current: Pass | None) -> dict[str, float]:
        """All epochs over the experience. `current`: the first one's pass over this process's share, if it was made."""
        config, count = self.config, len(experience.batch)
        rng = random_numbers(self.seed, Purpose.MINI_BATCHES, step)
        metrics: list[dict[str, float]] = []
        grad_norms: list[float] = []
        skipped = 0
        with torch.random.fork_rng(), self.policy.adapter_dropout():
            drawn = int(random_numbers(self.seed, Purpose.DROPOUT, step).integers(2**62))
            torch.manual_seed(drawn + self._processes.rank)
            for epoch in range(1, config.ppo_epochs + 1):
                per_pass = config.rollouts_per_pass
                # One mini-batch of everything needs no order; in theirs, a prompt's rollouts can share its reading.
                order = rng.permutation(count) if per_pass < count else np.arange(count)
                mini_batches = [order[start : start + per_pass] for start in range(0, count, per_pass)]
                accumulate = config.gradient_accumulation_steps
                for first in range(0, len(mini_batches), accumulate):
                    group = mini_batches[first : first + accumulate]
                    taken = 0
                    for index in group:
                        loss, measured = self._loss(step, epoch, experience, index, current if epoch == 1 else None)
                        metrics.append(measured)
                        if measured["ratio"] > config.ratio_threshold:
                            skipped += 1
                            continue
                        torch.autograd.backward(loss / len(group))
                        taken += 1
                    if taken:
                        grad_norms.append(self._optimizer_step(step, epoch, experience))
        means = {name: float(np.mean([measured[name] for measured in metrics])) for name in metrics[0]}
        return {
            **means,
            "grad_norm": float(np.mean(grad_norms)) if grad_norms else math.nan,
            "skipped_minibatches": skipped,
        }

    def _loss(
        self, step: int, epoch: int, experience: _Experience, index: Any, current: Pass | None
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of the rollouts at `index`, which are all of them when `current` is given, and its parts.

        The loss is this process's part of it, the parts are those of all processes together.
        """
        config, device = self.config, experience.batch.input_ids.device
        share = self._processes.share(len(index))
        # A process without a share runs a row that does not count: sharded layers are computed by all of them together.
        rows = torch.from_numpy(index[share.start : share.stop] if share else index[:1]).to(device)
        batch = experience.batch.rows(rows)
        new = run_pass(self.policy, batch, config.temperature) if current is None else current
        mask, width = batch.response_mask, batch.response_mask.shape[1]

        def chosen(values: Tensor) -> Tensor:
            return values[rows, :width]

        policy = policy_loss(
            new.logprobs, chosen(experience.logprobs), chosen(experience.advantages), mask, config.cliprange
        )
        value = value_loss(
            new.values,
            chosen(experience.values),
            chosen(experience.returns),
            mask,
            config.cliprange_value,
        )
        loss = policy.loss + config.vf_coef * value.loss
        own = {
            "policy_loss": float(policy.loss.detach()),
            "value_loss": float(value.loss.detach()),
            "clipfrac": float(policy.clipfrac),
            "value_clipfrac": float(value.clipfrac),
            "ratio": float(policy.ratio.detach()),
            "approx_kl": float(policy.approx_kl.detach()),
        }
        # All are means over tokens: a process counts by its share of them.
        of_all = experience.batch.response_mask[torch.from_numpy(index).to(device)].sum()
        weight = float(mask.sum() / of_all) if share else 0.0
        summed = self._processes.sum([weight * number if share else 0.0 for number in own.values()])
        measured = dict(zip(own, summed, strict=True))
        # An infinite ratio is a mini-batch to be skipped, not an infinite loss.
        total = measured["policy_loss"] + config.vf_coef * measured["value_loss"]
        if not math.isfinite(total) and not measured["ratio"] > config.ratio_threshold:
            raise _not_finite(step, epoch, "loss", measured, [experience.prompt_ids[row] for row in index.tolist()])
        return (weight * loss if share else 0 * (new.logprobs.sum() + new.values.sum())), measured

    def _optimizer_step(self, step: int, epoch: int, experience: _Experience) -> float:
        self._processes.sum_gradients(self._parameters)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise _not_finite(step, epoch, "gradient", {"norm": norm}, experience.prompt_ids)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return norm


def _not_finite(step: int, epoch: int, what: str, measured: dict[str, float], prompts: Sequence[str]) -> TrainingError:
    numbers = ", ".join(f"{name} {value:g}" for name, value in measured.items())
    return TrainingError(
        f"step {step}, PPO epoch {epoch}: the {what} is not finite ({numbers}).\n"
        f"  prompts: {', '.join(dict.fromkeys(prompts))}\n"
        "Nothing was updated with it, and the last checkpoint is good. Look at these prompts' rewards. With a lower "
        "training.learning_rate, or other prompts, it is another study: give it a name of its own (name=…)."
    )
