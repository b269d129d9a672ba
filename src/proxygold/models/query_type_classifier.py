"""The local classifier of query types: logistic regression on an encoder's embedding of the query.

The one that ships is for the bundled encoder, and was fitted to prompts of our own alone (`recipes/query_types.py`);
`proxygold train query-types` makes another. A classifier is one JSON file, and reading it needs nothing but numpy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxygold.errors import ConfigError, ModelError
from proxygold.models.encoder import Encoder, EncoderSettings, load_encoder
from proxygold.records import FloatArray
from proxygold.whole_files import write_whole

__all__ = ["CLASSIFIER_FILE", "QueryTypeClassifier", "load_classifier", "probe_logits", "save_classifier"]

CLASSIFIER_FILE = "classifier.json"

_SHIPPED = Path(__file__).with_name("query_type_minilm")
_FORMAT = 1

# Three texts whose logits tell whether an encoder is the one that a classifier was fitted to.
_PROBES = ("Write a song about a lost umbrella.", "What is the boiling point of water?", "How do I look after a fern?")
# Other hardware moves a logit by some 1e-4; another encoder, or another truncation of it, by whole numbers.
_PROBE_TOLERANCE = 0.05

# What of an encoder's settings decides an embedding. Device and batch size do not, and stay the user's.
_KEPT_SETTINGS = ("model", "normalize", "max_length", "truncation_side")


@dataclass(frozen=True, slots=True)
class QueryTypeClassifier:
    """P(open-ended) = sigmoid(weights · embedding + intercept). `weights`: (d,) float64.

    `fingerprint` is of the encoder that the weights belong to, `probes` what they gave for three texts; `training`
    says how they were found.
    """

    weights: FloatArray
    intercept: float
    encoder: EncoderSettings
    fingerprint: str
    probes: tuple[float, ...]
    training: Mapping[str, Any]

    def logits(self, embeddings: NDArray[np.float32]) -> FloatArray:
        """The (n,) log-odds of open-ended for (n, d) embeddings, each free of its neighbours."""
        logits: FloatArray = np.sum(embeddings.astype(np.float64) * self.weights, axis=1) + self.intercept
        return logits

    def probabilities(self, queries: Sequence[str]) -> FloatArray:
        """The (n,) probabilities that n queries are open-ended. Raises ModelError when the encoder is another one."""
        encoder = self.load_encoder()
        odds = self.logits(encoder.embed(queries))
        probabilities: FloatArray = 1 / (1 + np.exp(-odds))
        return probabilities

    def load_encoder(self) -> Encoder:
        """The encoder that the weights belong to. Raises ModelError when it cannot be loaded or has changed."""
        encoder = load_encoder(self.encoder)
        if encoder.fingerprint == self.fingerprint:
            return encoder
        # Another version of a library may describe the same encoder in other words: what it computes decides.
        now = probe_logits(self.weights, self.intercept, encoder) if encoder.dimension == len(self.weights) else None
        if now is None or np.abs(np.subtract(now, self.probes)).max() > _PROBE_TOLERANCE:
            raise ModelError(
                f"the encoder {self.encoder.model!r} is not the one that this classifier was trained on: it gives "
                "other embeddings. Install the version that it was trained on, or train the classifier anew: "
                "proxygold train query-types DATA --out DIR."
            )
        return encoder


def probe_logits(weights: FloatArray, intercept: float, encoder: Encoder) -> tuple[float, ...]:
    """What these weights give for the probe texts; equal wherever encoder and weights are."""
    vectors = encoder.embed(_PROBES).astype(np.float64)
    return tuple(float(logit) for logit in np.sum(vectors * weights, axis=1) + intercept)


def load_classifier(directory: Path | None = None) -> QueryTypeClassifier:
    """The classifier in a directory that `proxygold train query-types` wrote, or None: the one that ships.

    Raises ModelError when it is not there or damaged.
    """
    path = (_SHIPPED if directory is None else directory) / CLASSIFIER_FILE
    remedy = "Give a directory that `proxygold train query-types DATA --out DIR` wrote."
    if not path.is_file():
        raise ModelError(f"there is no classifier in {path.parent}: it has no {CLASSIFIER_FILE}. {remedy}")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format"] != _FORMAT:
            raise ModelError(
                f"{path} has format {stored['format']!r}; this version of proxygold reads format {_FORMAT}. "
                "Train the classifier anew, or install the version that made it."
            )
        weights = np.array(stored["weights"], dtype=np.float64)
        if weights.ndim != 1 or not np.isfinite(weights).all():
            raise ValueError("the weights are not one row of finite numbers")
        return QueryTypeClassifier(
            weights=weights,
            intercept=float(stored["intercept"]),
            encoder=EncoderSettings(**stored["encoder"]),
            fingerprint=str(stored["fingerprint"]),
            probes=tuple(map(float, stored["probes"])),
            training=dict(stored["training"]),
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise ModelError(f"{path} is damaged ({type(error).__name__}: {error}). {remedy}") from error


def save_classifier(classifier: QueryTypeClassifier, directory: Path) -> Path:
    """Write a classifier into a directory; the file appears whole or not at all. Raises StoreError."""
    settings = asdict(classifier.encoder)
    stored = {
        "format": _FORMAT,
        "encoder": {name: settings[name] for name in _KEPT_SETTINGS},
        "fingerprint": classifier.fingerprint,
        "probes": list(classifier.probes),
        "training": dict(classifier.training),
        "intercept": classifier.intercept,
        "weights": classifier.weights.tolist(),
    }
    path = directory / CLASSIFIER_FILE
    write_whole(path, json.dumps(stored, indent=1) + "\n")
    return path
