"""QR and AR over an encoder of letters: (count of a, count of b), whose dot products are worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from proxygold.features import FeatureContext, answer_relevance, query_relevance
from proxygold.records import Example

QR = query_relevance.query_relevance
AR = answer_relevance.answer_relevance


class Letters:
    """Remembers the texts that it was asked to embed."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)


def test_qr_embeds_the_completion_uncut_and_the_user_turns_only() -> None:
    letters = Letters()
    talk = [
        {"role": "system", "content": "aaaa"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "bbbb"},
        {"role": "user", "content": "b"},
    ]
    result = QR([Example("ab", "a\n\n\n\nbb"), Example(talk, " b ")], FeatureContext(embed=letters))
    # (1, 1) . (1, 2) = 3: what follows the stop string counts. (1, 1) . (0, 1) = 1.
    assert result.values.tolist() == [3.0, 1.0]
    assert letters.asked == [["ab", "a\nb"], ["a\n\n\n\nbb", " b "]]


def test_ar_gives_nan_with_a_reason_where_there_is_no_reference() -> None:
    letters = Letters()
    examples = [Example("q", "ab", reference="aab"), Example("q", "ab"), Example("q", "ab", reference=" \n")]
    result = AR(examples, FeatureContext(embed=letters))
    # (2, 1) . (1, 1) = 3
    assert result.values[0] == 3.0
    assert np.isnan(result.values[1:]).all()
    assert result.reasons == (None, "AR: the example has no reference", "AR: the example has no reference")
    # Nothing is encoded for rows that cannot be scored.
    assert letters.asked == [["aab"], ["ab"]]


def test_a_completion_is_encoded_once_for_both_features() -> None:
    letters = Letters()
    context = FeatureContext(embed=letters)
    examples = [Example("a", "ab", reference="b"), Example("b", "ab", reference="b")]
    QR(examples, context)
    AR(examples, context)
    assert sum(texts.count("ab") for texts in letters.asked) == 1


def test_an_empty_completion_has_the_relevance_of_the_empty_text() -> None:
    assert QR([Example("ab", "")], FeatureContext(embed=Letters())).values.tolist() == [0.0]


def test_without_an_encoder_relevance_is_an_error() -> None:
    with pytest.raises(NotImplementedError, match="without an encoder"):
        QR([Example("a", "b")], FeatureContext())
