"""Training the local classifier of query types on labelled prompts.

L2-regularised logistic regression on the encoder's embeddings of the queries (scikit-learn's, the classes weighted
equally). Its strength C is the one with the lowest cross-validated log-loss: smoother than accuracy, which ties and
jumps on a few hundred prompts. The accuracy that is reported is nested: each prompt is predicted by a classifier that
saw neither it nor its fold, the choice of C included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.data.query_types import LabelledQuery
from proxygold.errors import DataError, TrainingError
from proxygold.models.encoder import EncoderSettings, load_encoder
from proxygold.models.query_type_classifier import QueryTypeClassifier, probe_logits, save_classifier
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, FloatArray
from proxygold.training.pair_accuracy import wilson_interval

__all__ = ["MIN_OF_EACH", "QueryTypeResult", "train_query_types"]

MIN_OF_EACH = 20
FOLDS = 10
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class QueryTypeResult:
    """What was trained. `accuracy` is the cross-validated one, with its 95% (Wilson) interval.

    `majority` is the accuracy of always saying the commoner type. `by_type`: type to the share of it that was
    recognised.
    """

    n: int
    open_ended: int
    strength: float
    accuracy: float
    low: float
    high: float
    majority: float
    by_type: dict[str, float]
    seed: int


def train_query_types(
    queries: Sequence[LabelledQuery],
    directory: Path | None,
    *,
    encoder: EncoderSettings | None = None,
    seed: int = 0,
) -> tuple[QueryTypeClassifier, QueryTypeResult]:
    """Fit a classifier to labelled queries, and write it to `directory` (None: nowhere).

    Equal queries are used once. The encoder's default here reads the start of a long query, where the instruction is.
    Raises DataError when a type has fewer than `MIN_OF_EACH` queries or one query has both types, TrainingError when
    the weights are not finite, StoreError when the directory cannot be written.
    """
    texts, is_open = _distinct(queries)
    # The classifier's own: scores need not be comparable with QR's, and a cosine needs no scale.
    settings = encoder or EncoderSettings(normalize=True, truncation_side="right")
    model = load_encoder(settings)
    vectors = model.embed(texts).astype(np.float64)

    predicted = _nested_predictions(vectors, is_open, seed)
    strength = _best_strength(vectors, is_open, seed)
    weights, intercept = _fit(vectors, is_open, strength)
    right = predicted == is_open
    low, high = wilson_interval(float(right.mean()), len(right))
    result = QueryTypeResult(
        n=len(texts),
        open_ended=int(is_open.sum()),
        strength=strength,
        accuracy=float(right.mean()),
        low=low,
        high=high,
        majority=float(max(is_open.mean(), 1 - is_open.mean())),
        by_type={OPEN_ENDED: float(right[is_open].mean()), CLOSED_ENDED: float(right[~is_open].mean())},
        seed=seed,
    )
    # Float32's digits are plenty, and keep the file small.
    weights = weights.astype(np.float32).astype(np.float64)
    classifier = QueryTypeClassifier(
        weights=weights,
        intercept=intercept,
        encoder=settings,
        fingerprint=model.fingerprint,
        probes=probe_logits(weights, intercept, model),
        training=asdict(result),
    )
    if directory is not None:
        save_classifier(classifier, directory)
    return classifier, result


def _distinct(queries: Sequence[LabelledQuery]) -> tuple[list[str], np.ndarray[Any, np.dtype[np.bool_]]]:
    labels: dict[str, str] = {}
    for query in queries:
        if labels.setdefault(query.text, query.query_type) != query.query_type:
            raise DataError(
                f"the query {query.text[:60]!r} is labelled {labels[query.text]} and {query.query_type}. "
                "Give each query one type."
            )
    is_open = np.array([label == OPEN_ENDED for label in labels.values()], dtype=np.bool_)
    few = min(int(is_open.sum()), int((~is_open).sum()))
    if few < MIN_OF_EACH:
        raise DataError(
            f"there are {int(is_open.sum())} open-ended and {int((~is_open).sum())} closed-ended queries; at least "
            f"{MIN_OF_EACH} different ones of each type are needed, and some hundreds make a good classifier."
        )
    return list(labels), is_open


def _folds(is_open: np.ndarray[Any, Any], seed: int) -> Any:
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(is_open)), is_open)


def _nested_predictions(vectors: FloatArray, is_open: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    predicted = np.empty(len(is_open), dtype=np.bool_)
    for train, test in _folds(is_open, seed):
        strength = _best_strength(vectors[train], is_open[train], seed + 1)
        weights, intercept = _fit(vectors[train], is_open[train], strength)
        predicted[test] = vectors[test] @ weights + intercept > 0
    return predicted


def _best_strength(vectors: FloatArray, is_open: np.ndarray[Any, Any], seed: int) -> float:
    """The C of `STRENGTHS` with the lowest cross-validated log-loss; the smaller of two equal ones."""
    folds = list(_folds(is_open, seed))
    losses = []
    for strength in STRENGTHS:
        odds = np.empty(len(is_open))
        for train, test in folds:
            weights, intercept = _fit(vectors[train], is_open[train], strength)
            odds[test] = vectors[test] @ weights + intercept
        # -log sigmoid of the odds of the right type, without overflow
        losses.append(float(np.logaddexp(0, np.where(is_open, -odds, odds)).mean()))
    return STRENGTHS[int(np.argmin(losses))]


def _fit(vectors: FloatArray, is_open: np.ndarray[Any, Any], strength: float) -> tuple[FloatArray, float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2_000).fit(vectors, is_open)
    if not np.isfinite(model.coef_).all():
        raise TrainingError("the classifier's weights are not finite. Check the encoder: its embeddings may not be.")
    return model.coef_[0].astype(np.float64), float(model.intercept_[0])
