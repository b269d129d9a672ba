"""The least relevant sentence and the share of relevant ones, over an encoder of letters and over a real one."""

import re
from collections.abc import Sequence

import numpy as np
import pytest

from proxygold import reward
from proxygold.errors import RewardError
from proxygold.features import FeatureContext
from proxygold.features.relevant_sentences import relevant_sentences
from proxygold.features.sentence_relevance import sentence_relevance
from proxygold.records import Example


class Letters:
    """(count of a, count of b); remembers the texts that it was asked to embed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)


EXAMPLES = [
    # Of (1, 1) with (2, 0), (0, 3), (1, 1): 2, 3, 2.
    Example("ab", "Aha a. Bobb bb!\nCab."),
    # Of (2, 0) with (1, 1), (0, 0): 2, 0.
    Example([{"role": "system", "content": "bbb"}, {"role": "user", "content": "aa"}], "Cab. Why?"),
    Example("ab", ""),
    Example("ab", "--- !?"),
    Example("ab", "Cab. Cab. Cab. Why?"),  # 2, 2, 2, 0
]


def test_the_least_relevant_sentence() -> None:
    values = sentence_relevance(EXAMPLES, FeatureContext(embed=Letters())).values
    assert values.tolist() == [2, 0, 0, 0, 0]


def test_the_share_of_relevant_sentences() -> None:
    context = FeatureContext(embed=Letters())
    assert relevant_sentences(EXAMPLES, context, threshold=2).values.tolist() == [1, 1 / 2, 0, 0, 3 / 4]
    assert relevant_sentences(EXAMPLES, context, threshold=2.5).values == pytest.approx([1 / 3, 0, 0, 0, 0])
    # Nothing is no relevant sentence, however low the threshold.
    assert relevant_sentences(EXAMPLES, context, threshold=-1).values.tolist() == [1, 1, 0, 0, 1]


def test_every_sentence_is_embedded_once_for_both() -> None:
    letters = Letters()
    context = FeatureContext(embed=letters)
    sentence_relevance(EXAMPLES, context)
    relevant_sentences(EXAMPLES, context)
    assert letters.asked.count("Cab.") == 1
    assert letters.asked.count("Why?") == 1


def test_no_examples() -> None:
    for feature in (sentence_relevance, relevant_sentences):
        assert feature([], FeatureContext(embed=Letters())).values.shape == (0,)


@pytest.mark.slow
def test_over_a_real_encoder() -> None:
    examples = [
        Example("What do herons eat?", "Herons eat fish and frogs. My printer is out of ink again."),
        Example("What do herons eat?", "Herons eat fish and frogs."),
        Example("What do herons eat?", "My printer is out of ink again."),
    ]
    scored = reward("sentence_relevance + 0 * QR + 0 * relevant_sentences").score(examples)
    relevance = scored.parts["QR"]
    # One sentence is the completion itself; of two the lesser one counts.
    assert scored.parts["sentence_relevance"] == pytest.approx(relevance[[2, 1, 2]], abs=1e-6)
    assert scored.parts["relevant_sentences"].tolist() == [0.5, 1, 0]
    again = reward("sentence_relevance").score(examples[::-1]).total[::-1]
    np.testing.assert_array_equal(again, scored.parts["sentence_relevance"])


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(RewardError, match=re.escape("relevant_sentences(threshold='high') is not allowed")):
        reward("relevant_sentences(threshold='high')")
    with pytest.raises(RewardError, match="sentence_relevance has no argument 'threshold'"):
        reward("sentence_relevance(threshold=1)")
