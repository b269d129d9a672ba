"""A random causal language model of any architecture, small enough for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reward_checkpoints import byte_tokenizer, starling_checkpoint

# With the names that other architectures than Llama have for the same.
SIZES: dict[str, Any] = {
    "vocab_size": 16,
    "hidden_size": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "bos_token_id": None,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="session")
def small_model() -> Callable[..., Any]:
    """Builds one of 3 layers and 16 tokens; `kind` is transformers' name for it, `changes` go to its config."""

    def build(kind: str, *, without: tuple[str, ...] = (), **changes: Any) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(0)
        sizes = {name: value for name, value in {**SIZES, **changes}.items() if name not in without}
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()

    return build


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Of bytes, without a chat template."""
    return byte_tokenizer()


@pytest.fixture(scope="module")
def starling(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A reward model in the form of Starling's."""
    return starling_checkpoint(tmp_path_factory.mktemp("starling"), tokenizer)
