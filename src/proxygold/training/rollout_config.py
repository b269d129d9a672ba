"""Settings that every algorithm has which samples its own completions and scores them. Importable without torch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from proxygold.models.policy_settings import SamplingSettings

__all__ = ["RolloutConfig", "Share"]

Share = Annotated[float, Field(ge=0, le=1)]


class RolloutConfig(BaseModel):
    """How a step's rollouts are sampled, checked and cut into batches, by the names of TRL's classic PPOConfig."""

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

    # --- optimisation ---------------------------------------------------------------------------------------
    learning_rate: PositiveFloat = 1e-5
    """Adam's, constant."""
    max_grad_norm: PositiveFloat = 1.0

    # --- rewards --------------------------------------------------------------------------------------------
    max_nan_share: Share = 0.1
    """A step in which more than this share of the rewards cannot be computed stops the run."""

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
