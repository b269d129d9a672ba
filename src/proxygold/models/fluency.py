"""How likely a reference language model finds a completion: the mean log-probability of its tokens.

Logits are computed for the completion's positions only, and turned into log-probabilities in float32. A value does
not depend on what is scored with it: a row is padded to a length that depends on its own length alone, on the right,
where nothing before it looks (`length_batches.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from proxygold.errors import DataError, ModelError
from proxygold.models.length_batches import length_batches
from proxygold.records import Example, FloatArray

__all__ = ["FluencyModel", "load_fluency_model"]

_DEFAULT_MAX_LENGTH = 1_024
# Rows of a vocabulary's worth of logits at a time: 50 MB for one of 49,152.
_POSITIONS = 256


class FluencyModel:
    """A loaded language model that judges completions. Threads may share it: they take turns.

    Made by `load_fluency_model`. `max_length`: tokens of prompt and completion. What is more goes from the start of the
    prompt, as long as half of `max_length` is left of it, then from the end of the completion.
    """

    def __init__(self, name: str, model: Any, prompt_tokens: Any, max_length: int) -> None:
        from proxygold.models.projection import find_projection

        self.name = name
        self.max_length = max_length
        self._model = model
        self._prompts = prompt_tokens
        self._projection = find_projection(name, model)
        self._batch_tokens = 2_048 if model.device.type == "cpu" else 32_768
        # The Rust tokenizer refuses two threads at once, and two forward passes at once would only share the cores.
        self._lock = threading.Lock()

    def score(self, examples: Sequence[Example]) -> tuple[FloatArray, list[str | None]]:
        """Mean log-probabilities (n,) float64 and n reasons: None where there is one, else why it is NaN."""
        values = np.full(len(examples), np.nan)
        reasons: list[str | None] = [None] * len(examples)
        encoded: dict[int, tuple[list[int], list[int]]] = {}
        with self._lock:
            for row, example in enumerate(examples):
                try:
                    encoded[row] = self._encode(example)
                except DataError as error:
                    reasons[row] = str(error)
            lengths = {row: len(prompt) + len(completion) for row, (prompt, completion) in encoded.items()}
            for padded, rows in length_batches(lengths, self.max_length, self._batch_tokens):
                values[rows] = self._forward([encoded[row] for row in rows], padded)
        return values, reasons

    def _encode(self, example: Example) -> tuple[list[int], list[int]]:
        """Token ids of prompt and completion, none empty, that fit together. Raises DataError."""
        tokenizer = self._prompts.tokenizer
        prompt = self._prompts.encode(example.prompt)
        completion = tokenizer(example.completion, add_special_tokens=False, verbose=False)["input_ids"]
        if not completion:
            if tokenizer.eos_token_id is None:
                raise DataError("the completion has no token, and the tokenizer none that ends a text")
            completion = [tokenizer.eos_token_id]
        room = self.max_length - min(len(prompt), self.max_length // 2)
        completion = completion[:room]
        return prompt[-(self.max_length - len(completion)) :], completion

    def _forward(self, rows: list[tuple[list[int], list[int]]], padded: int) -> FloatArray:
        """The means (len(rows),) of prompts and completions that are all padded to one length."""
        import torch

        device = self._model.device
        both = [prompt + completion for prompt, completion in rows]
        ids = torch.tensor([row + [0] * (padded - len(row)) for row in both], device=device)
        lengths = torch.tensor([len(row) for row in both], device=device)
        mask = (torch.arange(padded, device=device) < lengths[:, None]).long()
        means = np.empty(len(rows))
        with torch.inference_mode():
            trunk = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
            for row, (prompt, completion) in enumerate(rows):
                # The token at a position is predicted from the one before.
                start, end = len(prompt) - 1, len(prompt) + len(completion) - 1
                hidden, targets = trunk.last_hidden_state[row, start:end], ids[row, start + 1 : end + 1]
                total = 0.0
                for first in range(0, len(completion), _POSITIONS):
                    part = slice(first, first + _POSITIONS)
                    log_probabilities = self._projection(hidden[part]).float().log_softmax(dim=-1)
                    total += float(log_probabilities.gather(1, targets[part, None]).double().sum())
                means[row] = total / len(completion)
        return means


_loaded: dict[tuple[object, ...], FluencyModel] = {}
_loading = threading.Lock()


def load_fluency_model(name: str, template: str = "chat", dtype: str = "float32", max_length: int = 0) -> FluencyModel:
    """The language model called `name`: bundled, a hub id or a directory. Loaded once in a process.

    `template`: `chat` for the tokenizer's own, or a name from `proxygold.templates`. `max_length` 0 is 1,024 tokens, or
    what the model can read if that is less. Raises ModelError when it cannot be loaded or used so, ConfigError for a
    template that does not exist.
    """
    key = (name, template, dtype, max_length)
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load(name, template, dtype, max_length)
        return _loaded[key]


def _load(name: str, template: str, dtype: str, max_length: int) -> FluencyModel:
    try:
        from proxygold.models.causal_lm import load_causal_lm, load_tokenizer, pick_device, pick_dtype
        from proxygold.models.policy_settings import PolicySettings
        from proxygold.models.prompt_tokens import PromptTokens
    except ImportError as error:
        raise ModelError(
            f"a language model needs {error.name}, which is not installed. Run: pip install 'proxygold[train]'"
        ) from error

    tokenizer = load_tokenizer(name)
    if template == "chat" and not tokenizer.chat_template:
        raise ModelError(
            f"the language model {name!r} has no chat template. Say how prompts are written for it: "
            'template="none" for the bare prompt, or "alpaca", "vicuna", "hh", "chatml".'
        )
    device = pick_device("auto")
    model = load_causal_lm(name, pick_dtype(dtype, device), device)
    prompts = PromptTokens(PolicySettings(model=name, prompt_template=template), tokenizer, model.config)
    longest = prompts.context_length
    if max_length and (max_length < 2 or (longest is not None and max_length > longest)):
        raise ModelError(
            f"max_length is {max_length}, but the language model {name!r} reads 2 to {longest or 'any number of'} "
            "tokens."
        )
    return FluencyModel(name, model, prompts, max_length or min(_DEFAULT_MAX_LENGTH, longest or _DEFAULT_MAX_LENGTH))
