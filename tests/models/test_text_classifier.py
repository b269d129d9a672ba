"""Text classifiers against transformers' own pipeline, and the label that toxicity takes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from proxygold import reward
from proxygold.errors import ModelError, RewardError
from proxygold.models.bundled import bundled_encoder_path, bundled_policy_path
from proxygold.models.text_classifier import load_text_classifier
from proxygold.records import Example

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.5,
}
TEXTS = [
    "You are kind.",
    "A longer text, of some twenty words, that says nothing bad about anyone and goes on only to be long.",
    "",
    "Bah!",
    "word " * 200,  # longer than the model reads
    "You are kind.",
]
Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Saves a random classifier of 64 positions with the bundled encoder's tokenizer."""

    def saved(labels: tuple[str, ...] = ("LABEL_0", "LABEL_1"), kind: str = "bert", **changes: Any) -> Path:
        torch.manual_seed(0)
        directory = tmp_path_factory.mktemp(kind)
        tokenizer = AutoTokenizer.from_pretrained(bundled_encoder_path(), model_max_length=64)
        sizes = SIZES | {"vocab_size": len(tokenizer), "id2label": dict(enumerate(labels))} | changes
        if kind == "bert":
            model: Any = BertForSequenceClassification(BertConfig(max_position_embeddings=64, **sizes))
        elif kind == "roberta":
            # Positions are counted from the one after the padding index: 66 of them are 64 tokens.
            tokenizer.model_max_length = 10**30
            config = RobertaConfig(max_position_embeddings=66, pad_token_id=1, type_vocab_size=2, **sizes)
            model = RobertaForSequenceClassification(config)
        else:
            tokenizer = AutoTokenizer.from_pretrained(bundled_policy_path(), model_max_length=64)
            sizes["vocab_size"] = len(tokenizer)
            model = LlamaForSequenceClassification(LlamaConfig(num_key_value_heads=2, pad_token_id=2, **sizes))
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return directory

    return saved


def by_pipeline(directory: Path) -> list[list[float]]:
    """What transformers says, label by label, one text at a time."""
    classify = pipeline("text-classification", str(directory), top_k=None, device="cpu", dtype=torch.float32)
    labels = list(classify.model.config.id2label.values())
    limit = 64
    found = [classify([text], truncation=True, max_length=limit)[0] for text in TEXTS]
    return [[{one["label"]: one["score"] for one in result}[label] for label in labels] for result in found]


@pytest.mark.parametrize(
    ("labels", "kind", "changes"),
    [
        (("no", "yes"), "bert", {}),
        (("a", "b", "c"), "bert", {}),
        (("a", "b", "c"), "bert", {"problem_type": "multi_label_classification"}),
        (("toxic",), "bert", {}),
        (("no", "yes"), "roberta", {}),
    ],
)
def test_probabilities_are_those_of_transformers(
    build: Build, labels: tuple[str, ...], kind: str, changes: dict[str, str]
) -> None:
    directory = build(labels, kind, **changes)
    classifier = load_text_classifier(str(directory))
    assert (classifier.labels, classifier.max_length) == (labels, 64)
    expected = by_pipeline(directory)
    assert np.ptp(np.array(expected), axis=0).min() > 0.01  # the texts differ, so the test can tell
    np.testing.assert_allclose(classifier.probabilities(TEXTS), expected, atol=1e-5)


def test_a_decoder_is_read_at_its_last_token(build: Build) -> None:
    directory = build(kind="llama")
    found = load_text_classifier(str(directory)).probabilities([text for text in TEXTS if text])
    model = LlamaForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    for text, probabilities in zip([text for text in TEXTS if text], found, strict=True):
        ids = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[0]
        assert probabilities == pytest.approx(logits.softmax(0).tolist(), abs=1e-5)
    scored = reward(f"toxicity(model={str(directory)!r})").score([Example("?", "")])
    assert np.isnan(scored.total[0])
    assert "no token" in str(scored.reasons[0])


def test_a_value_depends_neither_on_company_nor_on_order_nor_on_threads(build: Build) -> None:
    classifier = load_text_classifier(str(build(("a", "b"))))
    together = classifier.probabilities(TEXTS)
    np.testing.assert_array_equal(classifier.probabilities(TEXTS[::-1])[::-1], together)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda text: classifier.probabilities([text])[0], TEXTS * 3))
    np.testing.assert_array_equal(alone, np.concatenate([together] * 3))
    assert classifier.probabilities([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("labels", "label", "index"),
    [
        (("non-toxic", "Toxic"), None, 1),
        (("toxicity", "insult", "threat"), None, 0),
        (("LABEL_0", "LABEL_1"), None, 1),
        (("hateful",), None, 0),
        (("nothate", "hate"), "HATE", 1),
        (("nothate", "hate"), 0, 0),
    ],
)
def test_the_label_that_is_taken(build: Build, labels: tuple[str, ...], label: str | int | None, index: int) -> None:
    directory = str(build(labels))
    argument = "" if label is None else f", label={label!r}"
    examples = [Example("?", text) for text in TEXTS]
    total = reward(f"toxicity(model={directory!r}{argument})").score(examples).total
    np.testing.assert_array_equal(total, load_text_classifier(directory).probabilities(TEXTS)[:, index])


@pytest.mark.parametrize(
    ("labels", "argument", "message"),
    [
        (("nothate", "hate"), "", r"no label called toxic or toxicity.*Its labels are 0 \(nothate\), 1 \(hate\)"),
        (("toxic", "toxicity"), "", "more than one label called toxic or toxicity, so label= must say which"),
        (("a", "b"), ", label='c'", r"has no label 'c'. Its labels are 0 \(a\), 1 \(b\): give one of these"),
        (("a", "b"), ", label=2", "has no label 2"),
    ],
)
def test_a_label_that_cannot_be_told_is_asked_for(
    build: Build, labels: tuple[str, ...], argument: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        reward(f"toxicity(model={str(build(labels))!r}{argument})").score([Example("?", "a")])


def test_what_is_no_classifier_is_refused(build: Build, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bundled_encoder_path())
    BertModel(BertConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is no text classifier: its checkpoint has no classifier\.bias"):
        load_text_classifier(str(tmp_path))
    with pytest.raises(ModelError, match="problem_type is regression"):
        load_text_classifier(str(build(("a",), problem_type="regression")))
    with pytest.raises(ModelError, match="the classifier './nothing' is not a directory"):
        reward("toxicity(model='./nothing')").score([Example("?", "a")])


def test_wrong_arguments_are_told() -> None:
    for argument, message in {
        "label=''": "the name of a label, its number from 0, or 'auto'",
        "label=-1": "the name of a label",
        "label=0.5": "the name of a label",
        "model=3": "a text classifier: a hub id or a directory, in quotes",
    }.items():
        with pytest.raises(RewardError, match=message):
            reward(f"toxicity({argument})")
