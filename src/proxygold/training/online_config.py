"""Settings of GRPO and RLOO, by TRL's names and with TRL 1.16's defaults where PPO's settings have no word for it.

Importable without torch.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from proxygold.training.rollout_config import RolloutConfig

__all__ = ["GRPOSettings", "OnlineSettings", "RLOOSettings"]


class OnlineSettings(RolloutConfig):
    """What GRPO and RLOO share. There is no value head: a completion is compared with the others of its prompt."""

    samples_per_prompt: Annotated[int, Field(ge=2)]
    """Rollouts of each prompt of a step: TRL's `num_generations`."""
    num_iterations: PositiveInt = 1
    """Passes over each batch of rollouts, as `ppo_epochs` is for PPO."""
    beta: NonNegativeFloat
    """Weight of the KL to the start policy. 0: nothing holds the policy back; `kl` is logged all the same."""
    epsilon: PositiveFloat = 0.2
    """How far a probability ratio may fall, and rise unless `epsilon_high` says otherwise, before it is clipped."""
    epsilon_high: PositiveFloat | None = None
    """DAPO: 0.28."""
    mask_truncated_completions: bool = False
    """Learn nothing from completions that did not end within `max_new_tokens`."""

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps that are made with each batch of rollouts."""
        return self.num_iterations * self.batch_size // (self.rollouts_per_pass * self.gradient_accumulation_steps)


class GRPOSettings(OnlineSettings):
    """GRPO (Shao et al. 2024) and its relatives: advantages are rewards less their prompt's mean."""

    samples_per_prompt: Annotated[int, Field(ge=2)] = 8
    beta: NonNegativeFloat = 0.0
    """Of the KL in the loss, per token, by Schulman's estimator. The GRPO paper: 0.04."""
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    """How the tokens' losses are averaged: over each completion and then over them (`grpo`), over the tokens of a
    mini-batch (`bnpo`) or of a step (`dapo`), or over the most tokens there can be (`dr_grpo`)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the standard deviation of their prompt's rewards, of the step's, or not (Dr. GRPO)."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Probability ratios of tokens, or of whole completions (GSPO)."""


class RLOOSettings(OnlineSettings):
    """RLOO (Ahmadian et al. 2024): the baseline of a reward is the mean of its prompt's other ones."""

    samples_per_prompt: Annotated[int, Field(ge=2)] = 2
    beta: NonNegativeFloat = 0.05
    """Of the KL in the reward, summed over a completion: what `init_kl_coef` is for PPO, and constant."""
    normalize_advantages: bool = False
    """Subtract the mean of a step's advantages and divide by their standard deviation."""
    reward_clip_range: tuple[float, float] | None = None
    """Bounds of a reward, before the KL."""

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.reward_clip_range is not None and self.reward_clip_range[0] >= self.reward_clip_range[1]:
            raise ValueError(f"reward_clip_range must be [low, high], low first; it is {list(self.reward_clip_range)}")
        return self
