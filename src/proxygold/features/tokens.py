"""Texts counted in the tokens of a named tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from proxygold.errors import ModelError
from proxygold.models.hub import find_checkpoint
from proxygold.records import FloatArray

__all__ = ["token_counts"]

# The Rust tokenizer refuses two threads at once.
_lock = threading.Lock()


def token_counts(model: str, texts: Sequence[str]) -> FloatArray:
    """The (n,) numbers of tokens of n texts, without special tokens and without truncation.

    `model` is a bundled name, a directory or a hub id. Raises ModelError when its tokenizer cannot be had.
    """
    if not texts:
        return np.empty(0)
    with _lock:
        tokenizer = _load_tokenizer(model)
        # `verbose` off: it would warn of texts that are longer than the model reads.
        encoded = tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
    return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.float64)


@cache
def _load_tokenizer(model: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ModelError(
            f"counting tokens needs {error.name}, which is not installed. Run: pip install 'proxygold[encoder]'"
        ) from error

    path = find_checkpoint(model, "tokenizer")
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        # What missing and damaged files raise.
        raise ModelError(
            f"the tokenizer of {model!r} cannot be loaded: {error}\n"
            "Give a model whose directory has a tokenizer.json, such as the one that is trained."
        ) from error
