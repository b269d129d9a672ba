"""Settings of supervised fine-tuning. Importable without torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from proxygold.models.bundled import BUNDLED_POLICY
from proxygold.models.policy_settings import LoraSettings, Quantization

__all__ = ["SFTConfig"]


class SFTConfig(BaseModel):
    """Supervised fine-tuning as the paper did it (Table 8): 2e-5 on a cosine after a warm-up of 0.03, 2 rows with an
    accumulation of 8, 3 epochs, 2048 tokens, all weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # --- model ----------------------------------------------------------------------------------------------
    model: Annotated[str, Field(min_length=1)] = BUNDLED_POLICY
    """The language model to start from: a bundled name, a hub id or a directory."""
    prompt_template: str = "chat"
    """`chat` for the tokenizer's own chat template, or a name from `proxygold.templates`: the policy's later on."""
    system_prompt: str | None = None
    """Opens every conversation that has no system message of its own."""
    lora: LoraSettings | None = None
    """The adapter to train; None trains all weights."""
    quantization: Quantization = "none"
    """Of the frozen weights beside an adapter."""
    gradient_checkpointing: bool = False
    """Compute the inside of each layer again in the backward pass, in place of keeping it."""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """In which products are computed, and frozen weights held. What is trained is always held in float32."""

    # --- rows -----------------------------------------------------------------------------------------------
    learn: Literal["last", "all"] = "last"
    """The answers of a conversation to learn: its last turn, or every turn of the assistant."""
    max_length: Annotated[int, Field(ge=8)] = 2048
    """Tokens of prompt and answer. A longer row is left out, counted and reported."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the prompts that are held out, where no rows to hold out are given. 0 holds none out."""

    # --- optimisation ---------------------------------------------------------------------------------------
    epochs: PositiveFloat = 3.0
    max_steps: PositiveInt | None = None
    """Optimiser steps, in place of `epochs`."""
    batch_size: PositiveInt = 2
    """Rows of a pass, on each device."""
    gradient_accumulation_steps: PositiveInt = 8
    """Passes of a step. The loss is the mean over all tokens of a step, however they fall into passes."""
    learning_rate: PositiveFloat = 2e-5
    """Peak of the cosine schedule."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    save_every: PositiveInt = 200
    """Steps between checkpoints, from which a stopped training goes on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _quantised_weights_are_frozen(self) -> Self:
        if self.quantization != "none" and self.lora is None:
            raise ValueError(
                f"quantization: {self.quantization} holds the weights in a form that cannot be trained; train an "
                "adapter beside them (lora)"
            )
        return self
