"""A reward model in this process: what it reads is laid out in batches, and its score read at the right place.

The score of an answer does not depend on what is scored with it: an answer is padded to a length that
depends on its own length alone, on the right, and only answers padded to one length share a forward pass.
In float32 on a CPU that makes scores equal to the last digits for every batch size and order; in bfloat16 a
batch of another size can still differ in the third digit.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proxygold.errors import DataError
from proxygold.models.length_batches import length_groups
from proxygold.models.reward_inputs import Encode
from proxygold.records import Example, FloatArray

__all__ = ["LocalRewardModel", "Read", "read_classifier"]

# The model, its padded inputs and their lengths (n,) to the scores (n,) or (n, 1).
Read = Callable[[Any, dict[str, Tensor], Tensor], Tensor]


def read_classifier(model: Any, inputs: dict[str, Tensor], lengths: Tensor) -> Tensor:
    """The scores (n, 1) of a sequence classifier: of a decoder at its last token, else where the model itself does."""
    if isinstance(getattr(model, "score", None), torch.nn.Module):
        # A decoder with a head, of any family. The model itself would read the score at the rightmost token
        # that is not the padding token: too early where the conversation ends with that very token.
        hidden = model.base_model(**inputs, use_cache=False).last_hidden_state
        scores: Tensor = model.score(hidden[torch.arange(len(lengths), device=lengths.device), lengths - 1])
    else:
        scores = model(**inputs).logits
    return scores


class LocalRewardModel:
    """A loaded reward model. Threads may share it: they take turns. Made by `load_reward_model`.

    `name` is what it was asked for by; `encode` turns an example into tokens and `read` a batch of these into scores.
    `form` says what of that is not told by the weights, for the fingerprint. An answer of more than `max_length` tokens
    with its prompt loses the prompt's start.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        *,
        max_length: int,
        batch_size: int,
        encode: Encode,
        read: Read,
        form: str,
    ) -> None:
        self.name = name
        self.max_length = max_length
        self.batch_size = batch_size
        self._model = model
        self._tokenizer = tokenizer
        self._encode = encode
        self._read = read
        self._form = form
        # Set apart before the first call changes the tokenizer's truncation state.
        self._tokenizer_text = _tokenizer_text(tokenizer)
        # The Rust tokenizer refuses two threads at once, and two forward passes at once would only share the cores.
        self._lock = threading.Lock()

    def score(
        self, examples: Sequence[Example], progress: Callable[[int], None] | None = None
    ) -> tuple[FloatArray, tuple[str | None, ...]]:
        """Scores (n,) float64 and n reasons: None where the score is finite, else why it is NaN.

        `progress` is called with the number of examples scored so far.
        """
        scores = np.full(len(examples), np.nan)
        reasons: list[str | None] = [None] * len(examples)
        with self._lock:
            encoded: dict[int, dict[str, list[int]]] = {}
            for row, example in enumerate(examples):
                try:
                    encoded[row] = self._encode(self._tokenizer, example.prompt, example.completion, self.max_length)
                except DataError as error:
                    reasons[row] = str(error)
            done = len(examples) - len(encoded)
            for padded, rows in self._batches(encoded):
                scores[rows] = self._forward([encoded[row] for row in rows], padded)
                done += len(rows)
                if progress is not None:
                    progress(done)
        for row in encoded:
            if not np.isfinite(scores[row]):
                reasons[row] = f"the reward model {self.name} gave {scores[row]}, not a finite number"
                scores[row] = np.nan
        return scores, tuple(reasons)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all that decides a score: weights, dtype, tokenizer, form of the text, length limit."""
        digest = hashlib.sha256()
        decisive = {
            "class": type(self._model).__name__,
            "form": self._form,
            "max_length": self.max_length,
            "tokenizer": self._tokenizer_text,
            "chat_template": self._tokenizer.chat_template,
        }
        digest.update(json.dumps(decisive, sort_keys=True, default=str).encode())
        for name, tensor in self._model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _batches(self, encoded: dict[int, dict[str, list[int]]]) -> Iterator[tuple[int, list[int]]]:
        """Padded length and rows of each forward pass, the longest first: memory runs out at once or never."""
        lengths = {row: len(inputs["input_ids"]) for row, inputs in encoded.items()}
        for padded, rows in length_groups(lengths, self.max_length):
            for start in range(0, len(rows), self.batch_size):
                yield padded, rows[start : start + self.batch_size]

    def _forward(self, rows: list[dict[str, list[int]]], padded: int) -> FloatArray:
        """The scores (len(rows),) of inputs that are all padded to one length, on the right."""
        device = self._model.device
        lengths = torch.tensor([len(row["input_ids"]) for row in rows], device=device)
        inputs = {}
        for name in rows[0]:
            fill = (self._tokenizer.pad_token_id or 0) if name == "input_ids" else 0
            padding = [row[name] + [fill] * (padded - len(row[name])) for row in rows]
            inputs[name] = torch.tensor(padding, device=device)
        # From lengths: SmolLM2 pads with the token that also ends every turn.
        inputs["attention_mask"] = (torch.arange(padded, device=device) < lengths[:, None]).long()
        with torch.inference_mode():
            scores: FloatArray = self._read(self._model, inputs, lengths).reshape(len(rows)).double().cpu().numpy()
        return scores


def _tokenizer_text(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())])
    return str(backend.to_str())
