"""The local classifier of query types: what it computes, what it says, and which encoder it is for."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold.errors import ModelError
from proxygold.models.encoder import EncoderSettings, load_encoder
from proxygold.models.query_type_classifier import QueryTypeClassifier, load_classifier, save_classifier

REAL = Path(__file__).parents[3] / "shared/data/validation/alpaca_eval.json.gz"


def test_probabilities_are_the_sigmoid_of_a_dot_product() -> None:
    classifier = QueryTypeClassifier(np.array([2.0, -1.0]), 0.5, EncoderSettings(), "", (), {})
    # 2*1 - 1*0.5 + 0.5 = 2; 2*0 - 1*1 + 0.5 = -0.5
    assert classifier.logits(np.array([[1, 0.5], [0, 1]], dtype=np.float32)).tolist() == [2.0, -0.5]


def test_the_shipped_one_tells_plain_cases_apart() -> None:
    classifier = load_classifier()
    odds = classifier.probabilities(
        [
            "Write a song about my bicycle.",
            "Suggest names for a parrot.",
            "How many legs has a spider?",
            "Add 17 and 4.",
        ]
    )
    assert (odds[:2] > 0.8).all()
    assert (odds[2:] < 0.2).all()
    assert classifier.training["n"] >= 1_000


def test_a_probability_does_not_depend_on_its_neighbours() -> None:
    classifier = load_classifier()
    queries = ["Write a poem.", "What is the boiling point of ethanol, and how is it measured in a laboratory?", "Why?"]
    together = classifier.probabilities(queries)
    assert [classifier.probabilities([query])[0] for query in queries] == together.tolist()


def test_the_start_of_a_long_query_is_what_is_read() -> None:
    classifier = load_classifier()
    text = " The harbour was quiet." * 400
    begin, end = classifier.probabilities([f"Write a ballad about this:{text}", f"{text} Write a ballad about this."])
    assert begin > end


@pytest.mark.skipif(not REAL.is_file(), reason="the validation prompts are not here")
def test_it_agrees_with_gpt4_on_prompts_it_never_saw() -> None:
    """At least 72% of 805; GPT-4 and the paper's authors agree on 83%, the commoner label alone on 54%."""
    rows = json.loads(gzip.decompress(REAL.read_bytes()))
    odds = load_classifier().probabilities([row["instruction"].strip() for row in rows])
    right = [(p > 0.5) == (row["qtype"] == "OPENENDED") for p, row in zip(odds, rows, strict=True)]
    assert len(right) == 805
    assert np.mean(right) >= 0.72


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    shipped = load_classifier()
    save_classifier(shipped, tmp_path / "new")
    again = load_classifier(tmp_path / "new")
    assert (again.weights == shipped.weights).all()
    assert replace(again, weights=shipped.weights) == shipped


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    shipped = load_classifier()
    # The same model that reads the other end of a text is the same for short ones, and is let through.
    same = replace(shipped, fingerprint="another version of a library says it otherwise")
    assert same.probabilities(["Why?"]) == shipped.probabilities(["Why?"])
    other = replace(same, probes=tuple(probe + 0.1 for probe in shipped.probes))
    with pytest.raises(ModelError, match="is not the one that this classifier was trained on.*train query-types"):
        other.probabilities(["Why?"])
    short = replace(same, weights=shipped.weights[:10])
    with pytest.raises(ModelError, match="is not the one"):
        short.probabilities(["Why?"])
    assert len(shipped.weights) == load_encoder(shipped.encoder).dimension


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2; this version of proxygold reads format 1"),
        ({"weights": [1.0, None]}, "is damaged"),
        ({"weights": [[1.0]]}, "not one row of finite numbers"),
        ({"encoder": {"size": 3}}, "is damaged"),
        ({"probes": "abc"}, "is damaged"),
    ],
)
def test_damaged_files(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save_classifier(load_classifier(), tmp_path)
    file = tmp_path / "classifier.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ModelError, match=message):
        load_classifier(tmp_path)
    file.write_text(file.read_text()[:100])
    with pytest.raises(ModelError, match="is damaged"):
        load_classifier(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match=r"has no classifier\.json. Give a directory that"):
        load_classifier(tmp_path)
