"""Settings of a policy: which model, how prompts are written for it, which adapter is trained, and how it is sampled.

Kept apart from `policy.py` so that a study file can be read without loading a deep-learning library.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from proxygold.models.policy_shape import PolicyShape

__all__ = ["LoraSettings", "PolicySettings", "Quantization", "SamplingSettings"]

Quantization = Literal["none", "8bit", "4bit"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraSettings(_Strict):
    """The adapter that PPO trains. The paper: r 8 or 16, alpha twice r, dropout 0.05 or 0.1, on q and v of
    every layer.

    Dropout is 0 by default, unlike the paper: with it, the log-probabilities of a rollout and of its update differ.
    """

    r: PositiveInt = 16
    alpha: PositiveFloat = 32.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "v_proj")
    # Only the top `layers` decoder layers; None: all. What lies below is then computed once a rollout, not once
    # a pass.
    layers: PositiveInt | None = None


class PolicySettings(_Strict):
    """A policy to start from.

    `model` is a bundled name (`smollm2-135m-instruct`), a directory or a hub id, of a whole causal language
    model or of a PEFT adapter, which is merged into its base first. `prompt_template` is `chat` for the
    tokenizer's own chat template or a name from `proxygold.templates`. `system_prompt` opens every conversation
    that has no system message of its own; rewards never see it. `dtype` is that of the frozen weights (adapter
    and value head are always float32); `auto` is bfloat16 where the device multiplies it natively, else
    float32. `device` is `auto` or a torch device.

    Two settings save memory. `quantization` holds the weights of linear layers, which stay frozen, in 8 or 4 bits
    (bitsandbytes: LLM.int8() and double-quantised NF4); it needs a whole model, so an adapter is merged into a
    directory of its own first. `gradient_checkpointing` keeps what enters each adapted layer, and computes the
    inside of the layer again in the backward pass.
    """

    model: Annotated[str, Field(min_length=1)]
    prompt_template: str = "chat"
    system_prompt: str | None = None
    lora: LoraSettings = LoraSettings()
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    quantization: Quantization = "none"
    gradient_checkpointing: bool = False
    # The model's sizes, with which `--dry-run` plans memory before anything is downloaded. They decide nothing else.
    shape: PolicyShape | None = None


class SamplingSettings(_Strict):
    """How completions are drawn. Temperature 0 is greedy. `top_k` 0 and `top_p` 1 leave the distribution whole."""

    max_new_tokens: PositiveInt
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: NonNegativeInt = 0
