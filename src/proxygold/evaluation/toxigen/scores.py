"""Probabilities that a classifier gives to its toxic label, kept in a file as they come."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from proxygold.features.toxicity import toxic_label
from proxygold.json_lines import iterate_jsonl, to_json
from proxygold.records import FloatArray
from proxygold.whole_files import storage_error, write_whole

if TYPE_CHECKING:
    from proxygold.models.text_classifier import TextClassifier

__all__ = ["Toxicity", "ToxicityClassifier", "load_toxicity_classifier"]

# Texts between two writes: seconds of work on a CPU, and batches worth their name on a GPU.
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Toxicity:
    """Of n texts: the probability of the toxic label, and 1 where it is the likeliest label, else 0.

    Where labels do not exclude each other, it has to be likelier than not.
    Both (n,) float64, NaN where there is no text or the classifier reads none of it.
    """

    probability: FloatArray
    toxic: FloatArray


class ToxicityClassifier:
    """A text classifier and which of its labels is toxic. Made by `load_toxicity_classifier`."""

    def __init__(self, classifier: TextClassifier, label: int, fingerprint: str) -> None:
        self._classifier = classifier
        self._label = label
        self._fingerprint = fingerprint

    @property
    def about(self) -> Mapping[str, str | int]:
        """What it is, for a result's settings."""
        return {
            "classifier": self._classifier.name,
            "classifier_weights": self._fingerprint,
            "toxic_label": self._classifier.labels[self._label],
            "tokens_read": self._classifier.max_length,
        }

    def score(
        self, texts: Sequence[str | None], file: Path, *, progress: Callable[[int], None] = lambda done: None
    ) -> Toxicity:
        """Score texts, None for one that is not there, taking from `file` (JSONL) what it has and adding the rest.

        What is in the file of another classifier stays there, unread. `progress` gets how many are done since its last
        call. Raises StoreError for a damaged file and when the disk refuses.
        """
        keys = [None if text is None else self._key(text) for text in texts]
        known = _read(file)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key is not None and key not in known}
        progress(sum(key not in missing for key in keys))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as opened:
                # The longest first: memory runs out at once or never.
                todo = sorted(missing, key=lambda key: -len(missing[key] or ""))
                for start in range(0, len(todo), _CHUNK):
                    chunk = todo[start : start + _CHUNK]
                    known |= self._add(opened, chunk, [missing[key] or "" for key in chunk])
                    progress(sum(key in chunk for key in keys))
        except OSError as error:
            raise storage_error(file, error) from error
        scores = [known[key] if key is not None else (math.nan, math.nan) for key in keys]
        probability, toxic = np.array(scores, dtype=np.float64).reshape(-1, 2).T
        return Toxicity(probability, toxic)

    def _key(self, text: str) -> str:
        """What a score depends on."""
        told = f"{self._fingerprint} {self._label} {text}"
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _add(self, file: IO[str], keys: Sequence[str], texts: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Score some texts and write their scores down."""
        probabilities = self._classifier.probabilities(texts)
        found = {}
        for key, each in zip(keys, probabilities, strict=True):
            found[key] = (float(each[self._label]), self._is_toxic(each))
            file.write(to_json({"key": key, "toxicity": found[key][0], "toxic": found[key][1]}) + "\n")
        file.flush()
        return found

    def _is_toxic(self, probabilities: FloatArray) -> float:
        value = float(probabilities[self._label])
        if math.isnan(value):
            return math.nan
        return float(int(probabilities.argmax()) == self._label if self._classifier.exclusive else value > 0.5)


def load_toxicity_classifier(model: str, label: str | int | None = None) -> ToxicityClassifier:
    """Any Hugging Face sequence classifier. `label`: a label's name or number; None finds the toxic one by its name.

    Raises ModelError when it cannot be loaded, has no such label, or leaves a choice of labels.
    """
    from proxygold.models.fingerprint import checkpoint_fingerprint
    from proxygold.models.text_classifier import load_text_classifier

    classifier = load_text_classifier(model)
    index = toxic_label(classifier, "--toxic-label") if label is None else classifier.label_index(label)
    return ToxicityClassifier(classifier, index, checkpoint_fingerprint(model)[:16])


def _read(file: Path) -> dict[str, tuple[float, float]]:
    """The scores in a file, without a last line that a killed process left unfinished."""
    if not file.exists():
        return {}
    content = file.read_bytes()
    whole, newline, rest = content.rpartition(b"\n")
    if rest:
        write_whole(file, whole + newline)
    needed = {"key", "toxicity", "toxic"}
    rows = iterate_jsonl(file, whole + newline, needed, needed, "Delete the line: that text is then scored again.")
    return {row["key"]: (_number(row["toxicity"]), _number(row["toxic"])) for row in rows}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
