"""Cross-encoders against sentence-transformers' own predict, and cross_relevance in reward lines."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from proxygold import reward
from proxygold.errors import ModelError, RewardError
from proxygold.models.bundled import bundled_encoder_path
from proxygold.models.cross_encoder import load_cross_encoder
from proxygold.records import Example

EXAMPLES = [
    Example("Where is Oslo?", "In Norway.", reference="Oslo is in Norway."),
    Example("Where is Oslo?", "", reference="Oslo is in Norway."),
    Example("Where is Oslo, and since when?", "word " * 300, reference="In Norway."),
    Example([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}], "Me.", reference=" "),
    Example("Where is Oslo?", "In Norway.", reference="Oslo is in Norway."),
]
QUERIES = ["Where is Oslo?", "Where is Oslo?", "Where is Oslo, and since when?", "Who?", "Where is Oslo?"]
Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Saves a random cross-encoder of 64 positions."""

    def saved(labels: int = 1, **changes: Any) -> Path:
        torch.manual_seed(0)
        directory = tmp_path_factory.mktemp("cross")
        tokenizer = AutoTokenizer.from_pretrained(bundled_encoder_path(), model_max_length=512)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.5,
            num_labels=labels,
            **changes,
        )
        BertForSequenceClassification(config).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return directory

    return saved


@pytest.mark.parametrize("activation", ["torch.nn.modules.linear.Identity", None])
def test_scores_are_those_of_sentence_transformers(build: Build, activation: str | None) -> None:
    changes = {} if activation is None else {"sentence_transformers": {"activation_fn": activation}}
    directory = str(build(**changes))
    pairs = [(query, example.completion) for query, example in zip(QUERIES, EXAMPLES, strict=True)]
    expected = CrossEncoder(directory, max_length=64, device="cpu").predict(pairs, batch_size=1)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(load_cross_encoder(directory).score(pairs), expected, atol=1e-5)
    total = reward(f"cross_relevance(model={directory!r})").score(EXAMPLES).total
    np.testing.assert_allclose(total, expected, atol=1e-5)
    if activation is None:
        assert 0 < expected.min() < expected.max() < 1  # a sigmoid


def test_relevance_to_the_reference(build: Build) -> None:
    directory = str(build())
    scored = reward(f"cross_relevance(model={directory!r}, to='reference')").score([*EXAMPLES, Example("?", "a")])
    pairs = [(example.reference or "", example.completion) for example in (*EXAMPLES[:3], EXAMPLES[4])]
    np.testing.assert_array_equal(scored.total[[0, 1, 2, 4]], load_cross_encoder(directory).score(pairs))
    assert np.isnan(scored.total[[3, 5]]).all()
    assert scored.reasons[3] == scored.reasons[5] == "cross_relevance: the example has no reference"


def test_a_value_depends_neither_on_company_nor_on_order_nor_on_threads(build: Build) -> None:
    line = f"cross_relevance(model={str(build())!r})"
    examples = EXAMPLES + [Example(f"Query {n}?", "so " * n) for n in range(40)]
    together = reward(line).score(examples).total
    np.testing.assert_array_equal(reward(line).score(examples[::-1]).total[::-1], together)
    scorer = reward(line)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda example: scorer.score([example]).total[0], examples))
    np.testing.assert_array_equal(alone, together)


def test_what_is_no_cross_encoder_is_refused(build: Build) -> None:
    with pytest.raises(ModelError, match="has 3 outputs; a cross-encoder of relevance has one"):
        load_cross_encoder(str(build(labels=3)))
    with pytest.raises(ModelError, match=r"\(BertModel\) is no cross-encoder: it has no trained head"):
        load_cross_encoder("all-minilm-l6-v2")
    with pytest.raises(ModelError, match="the cross-encoder './nothing' is not a directory"):
        reward("cross_relevance(model='./nothing')").score(EXAMPLES)


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(RewardError, match="must be 'prompt' or 'reference'"):
        reward("cross_relevance(to='gold')")
    with pytest.raises(RewardError, match="a cross-encoder: a hub id or a directory, in quotes"):
        reward("cross_relevance(model=1)")
