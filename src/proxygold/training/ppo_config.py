"""Settings of PPO, by the names of TRL's classic PPOConfig, which the paper used. Importable without torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from proxygold.models.policy_settings import SamplingSettings

__all__ = ["PPOConfig"]

_Share = Annotated[float, Field(ge=0, le=1)]


class PPOConfig(BaseModel):
    """PPO as the paper trained: section 3.2, appendix C, and where these are silent, TRL 0.7.4 as its code set it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # --- batches --------------------------------------------------------------------------------------------
    batch_size: PositiveInt = 16
    """Rollouts a step: `batch_size / samples_per_prompt` prompts."""
    mini_batch_size: PositiveInt | None = None
    """Rollouts a forward and backward pass. None: the whole batch at once. The paper: 2, which needs less memory."""
    gradient_accumulation_steps: PositiveInt = 1
    """Mini-batches an optimiser step."""
    samples_per_prompt: PositiveInt = 1
    """Rollouts of each prompt of a step."""
    baseline: Literal["none", "prompt_mean"] = "none"
    """`prompt_mean` subtracts the mean score of a prompt's rollouts from each, beside the value head's prediction."""

    # --- optimisation ---------------------------------------------------------------------------------------
    learning_rate: PositiveFloat = 1e-5
    """Adam's, constant."""
    ppo_epochs: PositiveInt = 4
    """Passes over each batch of rollouts."""
    max_grad_norm: PositiveFloat = 1.0
    cliprange: PositiveFloat = 0.2
    cliprange_value: PositiveFloat = 0.2
    vf_coef: NonNegativeFloat = 1.0
    ratio_threshold: PositiveFloat = 10.0
    """A mini-batch whose mean probability ratio exceeds this is skipped."""

    # --- advantages -----------------------------------------------------------------------------------------
    gamma: _Share = 1.0
    lam: _Share = 0.95
    whiten_rewards: bool = False

    # --- scores ---------------------------------------------------------------------------------------------
    use_score_scaling: bool = True
    """Divide scores by the running standard deviation of all scores so far."""
    use_score_norm: bool = True
    """With `use_score_scaling`: subtract their running mean as well."""
    score_clip: PositiveFloat | None = 10.0
    """Bound of a score's size after scaling."""
    max_nan_share: _Share = 0.1
    """A step in which more than this share of the rewards cannot be computed stops the run."""

    # --- KL -------------------------------------------------------------------------------------------------
    init_kl_coef: NonNegativeFloat = 0.2
    adap_kl_ctrl: bool = True
    target: PositiveFloat = 6.0
    """KL to the start policy, in nats a completion, that the adaptive controller steers to."""
    horizon: PositiveFloat = 10_000.0
    """Rollouts over which the controller adapts."""

    # --- sampling -------------------------------------------------------------------------------------------
    max_new_tokens: PositiveInt = 512
    temperature: PositiveFloat = 1.0
    """Also divides the logits from which log-probabilities are taken: what is trained is what was sampled."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Below 1, like `top_k` above 0, log-probabilities stay those of the whole distribution."""
    top_k: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.batch_size % self.samples_per_prompt:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of samples_per_prompt ({self.samples_per_prompt})"
            )
        accumulated = self.rollouts_per_pass * self.gradient_accumulation_steps
        if self.batch_size % accumulated:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of mini_batch_size x gradient_accumulation_steps "
                f"({self.rollouts_per_pass} x {self.gradient_accumulation_steps})"
            )
        if self.baseline == "prompt_mean" and self.samples_per_prompt == 1:
            raise ValueError(
                "baseline: prompt_mean needs samples_per_prompt of 2 or more; with one rollout a prompt, it would "
                "subtract each score from itself"
            )
        return self

    @property
    def rollouts_per_pass(self) -> int:
        """`mini_batch_size`, resolved."""
        return self.mini_batch_size or self.batch_size

    @property
    def prompts_per_step(self) -> int:
        return self.batch_size // self.samples_per_prompt

    @property
    def sampling(self) -> SamplingSettings:
        return SamplingSettings(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
        )
