"""Frozen weights in 8 or 4 bits, by bitsandbytes: LLM.int8() (Dettmers 2022) and NF4 as QLoRA uses it (Dettmers 2023).

Only linear layers inside the model are quantised; embeddings, norms and the output layer stay in the model's dtype.
4-bit weights are multiplied in that dtype, 8-bit ones as integers, with what stands out in float16.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch

from proxygold.errors import ConfigError, ModelError
from proxygold.models.policy_settings import Quantization

__all__ = ["check_quantization", "quantization_config"]


def check_quantization(name: str, base: str | None, quantization: Quantization) -> None:
    """Raises ConfigError when `name` is an adapter (of `base`), ModelError when bitsandbytes is not installed."""
    if base is not None:
        raise ConfigError(
            f"{name!r} is an adapter of {base!r}, and quantization: {quantization} needs a whole model: merged into "
            f"weights that are quantised already, the adapter would lose most of itself to rounding. Merge it first: "
            f"proxygold merge {name} --out DIR, then give DIR."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quantization: {quantization} needs bitsandbytes, which is not installed. "
            "Run: pip install 'proxygold[quantized]'"
        )


def quantization_config(quantization: Quantization, dtype: torch.dtype) -> Any:
    """What `from_pretrained` takes to quantise while it loads; products are computed in `dtype`."""
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        # It says at every product that it computes in float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
