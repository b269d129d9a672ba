"""Training the classifier of query types: what it learns, what it reports, what it refuses."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from proxygold.data.query_types import LabelledQuery
from proxygold.errors import DataError
from proxygold.models.query_type_classifier import load_classifier
from proxygold.training import query_types
from proxygold.training.query_types import train_query_types


def own(every: int) -> list[LabelledQuery]:
    lines = files("proxygold.data").joinpath("query_type_prompts.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines][::every]
    return [LabelledQuery(row["prompt"], row["query_type"]) for row in rows]


def test_it_learns_and_is_written_and_is_repeatable(tmp_path: Path) -> None:
    queries = own(6)
    classifier, result = train_query_types(queries, tmp_path / "a", seed=3)
    assert result.n == len(queries)
    assert result.accuracy > result.majority + 0.1
    assert result.low < result.accuracy < result.high
    saved = load_classifier(tmp_path / "a")
    assert saved.training["seed"] == 3
    assert saved.probes == classifier.probes
    train_query_types(queries, tmp_path / "b", seed=3)
    assert (tmp_path / "a/classifier.json").read_bytes() == (tmp_path / "b/classifier.json").read_bytes()
    # What it says, which is plain numpy, is what scikit-learn says of the same fit.
    from sklearn.linear_model import LogisticRegression

    vectors = saved.load_encoder().embed([query.text for query in queries]).astype(np.float64)
    labels = [query.query_type == "open_ended" for query in queries]
    model = LogisticRegression(C=result.strength, class_weight="balanced", max_iter=2_000).fit(vectors, labels)
    ours = saved.probabilities([query.text for query in queries])
    np.testing.assert_allclose(ours, model.predict_proba(vectors)[:, 1], atol=1e-5)


def test_the_accuracy_is_of_prompts_that_were_not_seen() -> None:
    # Labels of a coin cannot be learned, though 384 weights remember 120 of them.
    rng = np.random.default_rng(0)
    queries = [LabelledQuery(query.text, "open_ended" if rng.random() < 0.5 else "closed_ended") for query in own(6)]
    _, result = train_query_types(queries, None)
    assert 0.3 < result.accuracy < 0.7


def test_the_strength_is_the_one_of_the_lowest_loss() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(200, 20))
    noise = rng.random(200) < 0.5
    # Nothing to learn: the strongest regularisation. One axis that decides all: the weakest.
    assert query_types._best_strength(vectors, noise, 0) == query_types.STRENGTHS[0]
    assert query_types._best_strength(vectors, vectors[:, 0] > 0, 0) == query_types.STRENGTHS[-1]


def test_what_cannot_be_trained_on() -> None:
    some = [LabelledQuery(f"Write poem {n}.", "open_ended") for n in range(30)]
    few = [LabelledQuery(f"What is {n} + 1?", "closed_ended") for n in range(19)]
    with pytest.raises(DataError, match="30 open-ended and 19 closed-ended queries; at least 20"):
        train_query_types([*some, *few, *few], None)  # the same again does not count
    with pytest.raises(DataError, match="'Write poem 3.' is labelled open_ended and closed_ended"):
        train_query_types([*some, LabelledQuery("Write poem 3.", "closed_ended")], None)


def test_the_shipped_classifier_is_what_our_prompts_make() -> None:
    """The recipe's one fit over again, with the strength that it recorded."""
    shipped = load_classifier()
    queries: list[LabelledQuery] = []
    for name in ("builtin_prompts.jsonl", "query_type_prompts.jsonl"):
        lines = files("proxygold.data").joinpath(name).read_text("utf-8").splitlines()
        queries += [LabelledQuery(row["prompt"], row["query_type"]) for row in map(json.loads, lines)]
    assert shipped.training["n"] == len(queries) >= 1_000
    vectors = shipped.load_encoder().embed([query.text for query in queries]).astype(np.float64)
    is_open = np.array([query.query_type == "open_ended" for query in queries])
    weights, intercept = query_types._fit(vectors, is_open, shipped.training["strength"])
    # Within the tolerance at which the fit stops, which another BLAS meets elsewhere.
    np.testing.assert_allclose(shipped.weights, weights, atol=0.05)
    assert shipped.intercept == pytest.approx(intercept, abs=0.05)
