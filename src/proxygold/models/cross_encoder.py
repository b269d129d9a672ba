"""Cross-encoders: two texts in, read together, and one number of how well they fit out.

Slower than a bi-encoder, whose embeddings can be kept, and better at telling an answer from a text of the same topic.
Scores are those of sentence-transformers' `CrossEncoder.predict`, which pads a batch to its longest pair. Here a score
does not depend on what is scored with it: only pairs of one length share a batch, and on a CPU none do, because the
last digit of a product of matrices depends on their height, and a CPU gains little from batches.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from proxygold.errors import ModelError
from proxygold.models.hub import find_checkpoint
from proxygold.models.quiet import quiet_loading
from proxygold.records import FloatArray

__all__ = ["PairEncoder", "load_cross_encoder"]

_MAX_LENGTH = 512
_GPU_BATCH_SIZE = 32


class PairEncoder:
    """A loaded cross-encoder. Threads may share it: they take turns. Made by `load_cross_encoder`."""

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model
        self._batch_size = 1 if model.device.type == "cpu" else _GPU_BATCH_SIZE
        # The Rust tokenizer refuses two threads at once, and two forward passes at once would only share the cores.
        self._lock = threading.Lock()

    def score(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Scores (n,) float64 of n pairs of texts. Equal pairs are computed once."""
        distinct = list(dict.fromkeys(pairs))
        found: dict[tuple[str, str], float] = {}
        with self._lock:
            for batch in self._of_one_length(distinct):
                scores = self._model.predict(batch, batch_size=self._batch_size, show_progress_bar=False)
                found.update(zip(batch, scores.astype(np.float64).reshape(len(batch)).tolist(), strict=True))
        return np.array([found[pair] for pair in pairs], dtype=np.float64)

    def _of_one_length(self, pairs: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
        if not pairs:
            return []
        tokenizer = self._model.tokenizer
        encoded = tokenizer([first for first, _ in pairs], [second for _, second in pairs], verbose=False)
        groups: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for pair, ids in zip(pairs, encoded["input_ids"], strict=True):
            groups[min(len(ids), tokenizer.model_max_length)].append(pair)
        # Cut here as well: predict sorts what it is given, and its own batches would be others with another company.
        return [
            group[start : start + self._batch_size]
            for _, group in sorted(groups.items(), reverse=True)
            for start in range(0, len(group), self._batch_size)
        ]


_loaded: dict[str, PairEncoder] = {}
_loading = threading.Lock()


def load_cross_encoder(name: str) -> PairEncoder:
    """The cross-encoder called `name`, a hub id or a directory. Loaded once in a process.

    It reads 512 tokens of a pair, or what the model can read if that is less. Raises ModelError when it cannot be
    loaded or does not give one number.
    """
    with _loading:
        if name not in _loaded:
            _loaded[name] = PairEncoder(name, _load(name))
        return _loaded[name]


def _load(name: str) -> Any:
    try:
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import CrossEncoder
        from transformers import AutoConfig
    except ImportError as error:
        raise ModelError(
            f"a cross-encoder needs {error.name}, which is not installed. Run: pip install 'proxygold[encoder]'"
        ) from error
    from proxygold.models.length_batches import positions_of

    path = find_checkpoint(name, "cross-encoder")
    try:
        with quiet_loading():
            config = AutoConfig.from_pretrained(path)
            _check_head(name, config)
            model = CrossEncoder(
                path,
                max_length=min(_MAX_LENGTH, positions_of(config) or _MAX_LENGTH),
                model_kwargs={"dtype": torch.float32},
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, SafetensorError) as error:
        raise ModelError(
            f"the cross-encoder {name!r} cannot be loaded: {error}\n"
            "Give the hub id or the directory of a model that sentence-transformers reads as a CrossEncoder."
        ) from error
    if model.num_labels != 1:
        raise ModelError(
            f"{name!r} has {model.num_labels} outputs; a cross-encoder of relevance has one. "
            "Choose another, such as cross-encoder/ms-marco-MiniLM-L6-v2."
        )
    return model.eval()


def _check_head(name: str, config: Any) -> None:
    """A model without a trained head would be given a new one, of random weights, and score without a word."""
    architectures = config.architectures or [""]
    if architectures[0].endswith(("ForSequenceClassification", "ForCausalLM")):
        return
    raise ModelError(
        f"{name!r} ({architectures[0] or 'of no stated architecture'}) is no cross-encoder: it has no trained head. "
        "An encoder of single texts goes into encoder=, for QR and AR. "
        "A cross-encoder is, for example, cross-encoder/ms-marco-MiniLM-L6-v2."
    )
