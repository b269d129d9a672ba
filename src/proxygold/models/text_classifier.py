"""Text classifiers: any Hugging Face sequence classifier, as the probability of each of its labels.

Probabilities are those of transformers' own pipeline: a softmax over the labels; for a model with one output, or of a
multi-label problem, a sigmoid of each. Weights are float32, and a text's probabilities do not depend on what is
classified with it: only texts padded to one length share a pass (`length_batches.py`), and on a CPU none do, because
the last digit of a product of matrices depends on their height, and a CPU gains little from batches.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from proxygold.errors import ModelError
from proxygold.models.hub import find_checkpoint
from proxygold.models.length_batches import length_batches, positions_of
from proxygold.models.quiet import quiet_loading
from proxygold.records import FloatArray

__all__ = ["TextClassifier", "load_text_classifier"]

_MAX_LENGTH = 512


class TextClassifier:
    """A loaded classifier. Threads may share it: they take turns. Made by `load_text_classifier`.

    `labels`: the names of its outputs, in their order. `exclusive`: whether a text has just one of them, so that their
    probabilities sum to 1. `max_length`: tokens of a text that are read, from its start.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any) -> None:
        self.name = name
        self.labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))
        self.exclusive = len(self.labels) > 1 and model.config.problem_type != "multi_label_classification"
        limits = (_MAX_LENGTH, positions_of(model.config), tokenizer.model_max_length)
        self.max_length = min(int(limit) for limit in limits if limit is not None)
        self._model = model
        self._tokenizer = tokenizer
        self._batch_tokens = None if model.device.type == "cpu" else 65_536
        # The Rust tokenizer refuses two threads at once, and two forward passes at once would only share the cores.
        self._lock = threading.Lock()

    def label_index(self, label: str | int) -> int:
        """The output called `label`, letter case aside, or with that number. Raises ModelError for any other."""
        if isinstance(label, str):
            found = [index for index, name in enumerate(self.labels) if name.casefold() == label.casefold()]
            if len(found) == 1:
                return found[0]
        elif 0 <= label < len(self.labels):
            return label
        raise ModelError(f"the classifier {self.name!r} has no label {label!r}. {self.choices}")

    @property
    def choices(self) -> str:
        """The labels in words, for messages."""
        named = ", ".join(f"{index} ({name})" for index, name in enumerate(self.labels))
        return f"Its labels are {named}: give one of these names or numbers."

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """(n, labels) float64; NaN for a text that has no token. Equal texts are computed once."""
        distinct = list(dict.fromkeys(texts))
        found = np.full((len(distinct), len(self.labels)), np.nan)
        with self._lock:
            if distinct:
                encoded = self._tokenizer(distinct, truncation=True, max_length=self.max_length)
                lengths = {row: len(ids) for row, ids in enumerate(encoded["input_ids"]) if ids}
                for padded, rows in length_batches(lengths, self.max_length, self._batch_tokens):
                    found[rows] = self._forward(encoded, rows, padded)
        row_of = {text: row for row, text in enumerate(distinct)}
        result: FloatArray = found[[row_of[text] for text in texts]]
        return result

    def _forward(self, encoded: Any, rows: list[int], padded: int) -> FloatArray:
        import torch

        model = self._model
        inputs = {}
        for name in ("input_ids", "token_type_ids"):
            if name in encoded:
                fill = (self._tokenizer.pad_token_id or 0) if name == "input_ids" else 0
                values = [encoded[name][row] + [fill] * (padded - len(encoded[name][row])) for row in rows]
                inputs[name] = torch.tensor(values, device=model.device)
        lengths = torch.tensor([len(encoded["input_ids"][row]) for row in rows], device=model.device)
        inputs["attention_mask"] = (torch.arange(padded, device=model.device) < lengths[:, None]).long()
        with torch.inference_mode():
            if isinstance(getattr(model, "score", None), torch.nn.Module):
                # A decoder with a head. The model itself would read it at the rightmost token that is not the padding
                # token, which in some tokenizers also ends a text.
                hidden = model.base_model(**inputs, use_cache=False).last_hidden_state
                logits = model.score(hidden[torch.arange(len(rows), device=model.device), lengths - 1])
            else:
                logits = model(**inputs).logits
            logits = logits.double()
            probabilities = logits.softmax(dim=-1) if self.exclusive else logits.sigmoid()
        result: FloatArray = probabilities.cpu().numpy()
        return result


_loaded: dict[str, TextClassifier] = {}
_loading = threading.Lock()


def load_text_classifier(name: str) -> TextClassifier:
    """The classifier called `name`, a hub id or a directory. Loaded once in a process.

    Raises ModelError when it cannot be loaded or is no classifier of texts.
    """
    with _loading:
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def _load(name: str) -> TextClassifier:
    try:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from proxygold.models.causal_lm import pick_device
    except ImportError as error:
        raise ModelError(
            f"a text classifier needs {error.name}, which is not installed. Run: pip install 'proxygold[encoder]'"
        ) from error

    path = find_checkpoint(name, "classifier")
    try:
        with quiet_loading():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                path, dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the classifier {name!r} cannot be loaded: {error}\n"
            "Give the hub id or the directory of a sequence-classification model with its tokenizer."
        ) from error
    if report["missing_keys"]:
        raise ModelError(
            f"{name!r} is no text classifier: its checkpoint has no {', '.join(sorted(report['missing_keys']))}. "
            "Give a sequence-classification model that was trained, such as tomh/toxigen_roberta."
        )
    if model.config.problem_type == "regression":
        raise ModelError(
            f"{name!r} gives a number without limits (problem_type is regression), no probability. "
            'Use it as a reward model, RM("…"), or choose a classifier.'
        )
    return TextClassifier(name, model.to(pick_device("auto")).eval(), tokenizer)
