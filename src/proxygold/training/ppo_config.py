"""Settings of PPO, by the names of TRL's classic PPOConfig, which the paper used. Importable without torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from proxygold.training.rollout_config import RolloutConfig, Share

__all__ = ["PPOConfig"]


class PPOConfig(RolloutConfig):
    """PPO as the paper trained: section 3.2, appendix C, and where these are silent, TRL 0.7.4 as its code set it."""

    baseline: Literal["none", "prompt_mean"] = "none"
    """`prompt_mean` subtracts the mean score of a prompt's rollouts from each, beside the value head's prediction."""

    # --- optimisation ---------------------------------------------------------------------------------------
    ppo_epochs: PositiveInt = 4
    """Passes over each batch of rollouts."""
    cliprange: PositiveFloat = 0.2
    cliprange_value: PositiveFloat = 0.2
    vf_coef: NonNegativeFloat = 1.0
    ratio_threshold: PositiveFloat = 10.0
    """A mini-batch whose mean probability ratio exceeds this is skipped."""

    # --- advantages -----------------------------------------------------------------------------------------
    gamma: Share = 1.0
    lam: Share = 0.95
    whiten_rewards: bool = False

    # --- scores ---------------------------------------------------------------------------------------------
    use_score_scaling: bool = True
    """Divide scores by the running standard deviation of all scores so far."""
    use_score_norm: bool = True
    """With `use_score_scaling`: subtract their running mean as well."""
    score_clip: PositiveFloat | None = 10.0
    """Bound of a score's size after scaling."""

    # --- KL -------------------------------------------------------------------------------------------------
    init_kl_coef: NonNegativeFloat = 0.2
    adap_kl_ctrl: bool = True
    target: PositiveFloat = 6.0
    """KL to the start policy, in nats a completion, that the adaptive controller steers to."""
    horizon: PositiveFloat = 10_000.0
    """Rollouts over which the controller adapts."""

    @model_validator(mode="after")
    def _baseline_has_something_to_subtract(self) -> Self:
        if self.baseline == "prompt_mean" and self.samples_per_prompt == 1:
            raise ValueError(
                "baseline: prompt_mean needs samples_per_prompt of 2 or more; with one rollout a prompt, it would "
                "subtract each score from itself"
            )
        return self
