"""rouge_l, bleu and chrf against numbers worked out by hand, and against plain transcriptions of their formulas."""

import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxygold import reward
from proxygold.errors import RewardError
from proxygold.features import FeatureContext, bleu, chrf, rouge_l
from proxygold.records import Example

ALL: list[Callable] = [rouge_l.rouge_l, bleu.bleu, chrf.chrf]
TEXTS = st.lists(st.sampled_from(["the", "cat", "sat", "lay", "on", "a", "mat"]), max_size=12).map(" ".join)


def one(feature: Callable, completion: str, reference: str, **arguments: object) -> float:
    return float(feature([Example("?", completion, reference=reference)], FeatureContext(), **arguments).values[0])


def test_rouge_l_by_hand() -> None:
    texts = ("The cat sat down.", "the cat lay down here")
    # the, cat, down: 3 of the completion's 4 words and of the reference's 5. F = 2 * 0.75 * 0.6 / 1.35
    assert one(rouge_l.rouge_l, *texts) == pytest.approx(2 / 3)
    assert one(rouge_l.rouge_l, *texts, measure="precision") == 0.75
    assert one(rouge_l.rouge_l, *texts, measure="recall") == 0.6
    # Order counts: of "b a" and "a b" only one letter is in both in order.
    assert one(rouge_l.rouge_l, "b a", "a b") == 0.5


def test_rouge_l_with_stems() -> None:
    assert one(rouge_l.rouge_l, "cats running", "cat runs") == 0
    assert one(rouge_l.rouge_l, "cats running", "cat runs", stemmer=True) == 1


def test_rouge_l_says_when_it_cannot_read_the_reference() -> None:
    result = rouge_l.rouge_l([Example("?", "奥斯陆", reference="奥斯陆")], FeatureContext())
    assert np.isnan(result.values[0])
    assert "no letter a to z" in result.reasons[0]
    assert one(chrf.chrf, "奥斯陆", "奥斯陆") == 1


def test_bleu_by_hand() -> None:
    # Words in common: 5 of 6; pairs: the cat, on the, the mat, 3 of 5; triples: on the mat, 1 of 4; fours: 0 of 3,
    # smoothed to 1 / (2 * 3). Equal lengths: no penalty.
    expected = (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** (1 / 4)
    assert one(bleu.bleu, "the cat sat on the mat", "the cat lay on the mat") == pytest.approx(expected, abs=1e-9)
    # Two words of three: precisions 1 and 1 of the orders there are; the penalty for 2 in place of 3 is e^(1 - 3/2).
    assert one(bleu.bleu, "the cat", "the cat sat") == pytest.approx(math.exp(-0.5), abs=1e-9)
    # Characters as words: a, b of a, b, c; the same penalty.
    assert one(bleu.bleu, "ab", "abc", tokenize="char") == pytest.approx(math.exp(-0.5), abs=1e-9)


def test_chrf_by_hand() -> None:
    # Of the letters a, b all are in abc, of abc two thirds; of the pair ab all, of ab, bc half. P = 1,
    # R = (2/3 + 1/2) / 2 = 7/12. F2 = 5 P R / (4 P + R) = (35/12) / (55/12) = 7/11; F1 = 2 P R / (P + R) = 14/19.
    assert one(chrf.chrf, "ab", "abc") == pytest.approx(7 / 11)
    assert one(chrf.chrf, "ab", "abc", beta=1) == pytest.approx(14 / 19)
    # With words (chrF+): the word ab is not the word abc, so P = (1 + 1 + 0) / 3, R = (2/3 + 1/2 + 0) / 3.
    p, r = 2 / 3, 7 / 18
    assert one(chrf.chrf, "ab", "abc", word_order=1) == pytest.approx(5 * p * r / (4 * p + r))


@settings(deadline=None)
@given(completion=TEXTS, reference=TEXTS.filter(bool))
def test_rouge_l_is_its_formula(completion: str, reference: str) -> None:
    a, b = (re.findall("[a-z0-9]+", text.lower()) for text in (completion, reference))
    table = np.zeros((len(a) + 1, len(b) + 1))
    for i in range(len(a)):
        for j in range(len(b)):
            table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else max(table[i, j + 1], table[i + 1, j])
    lcs = table[-1, -1]
    expected = 2 * lcs / (len(a) + len(b))  # 2 P R / (P + R) with P = lcs / a and R = lcs / b
    assert one(rouge_l.rouge_l, completion, reference) == pytest.approx(expected)


@settings(deadline=None)
@given(completion=TEXTS, reference=TEXTS.filter(bool))
def test_bleu_is_its_formula(completion: str, reference: str) -> None:
    a, b = completion.split(), reference.split()
    logs, halvings = [], 0
    for n in range(1, 5):
        ours, theirs = (Counter(tuple(x[i : i + n]) for i in range(len(x) - n + 1)) for x in (a, b))
        total = sum(ours.values())
        if not total:
            break
        correct = sum((ours & theirs).values())
        if not correct:
            halvings += 1
        logs.append(math.log(correct / total if correct else 1 / (2**halvings * total)))
    nothing = not set(a) & set(b)
    penalty = math.exp(min(0, 1 - len(b) / len(a))) if a else 0
    expected = 0 if nothing else penalty * math.exp(sum(logs) / len(logs))
    assert one(bleu.bleu, completion, reference) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("feature", ALL)
def test_a_value_does_not_depend_on_company(feature: Callable) -> None:
    examples = [
        Example("?", "the cat sat on the mat", reference="a cat lay on a mat"),
        Example("?", "", reference="a cat"),
        Example("?", "the cat sat"),
        Example("?", "the cat sat", reference=" "),
        Example("?", "a cat lay on a mat", reference="a cat lay on a mat"),
        Example("?", "the cat sat on the mat", reference="a cat lay on a mat"),
    ]
    together = feature(examples, FeatureContext())
    assert together.values[1] == 0
    assert np.isnan(together.values[[2, 3]]).all()
    assert together.reasons[2] == together.reasons[3] == f"{feature.__name__}: the example has no reference"
    assert together.values[4] == pytest.approx(1)
    assert together.values[5] == together.values[0]
    alone = [feature([example], FeatureContext()).values[0] for example in reversed(examples)][::-1]
    np.testing.assert_array_equal(together.values, alone)
    assert feature([], FeatureContext()).values.shape == (0,)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rouge_l(measure='f2')", "must be 'f1', 'precision' or 'recall'"),
        ("rouge_l(stemmer=1)", "must be True or False"),
        ("bleu(tokenize='ja-mecab')", "'13a', 'intl', 'char', 'zh' or 'none'"),
        ("chrf(word_order=3)", "a whole number from 0 to 2"),
        ("chrf(beta=0)", "a whole number from 1 to 10"),
    ],
)
def test_wrong_arguments_are_told(line: str, message: str) -> None:
    with pytest.raises(RewardError, match=re.escape(message)):
        reward(line)


@pytest.mark.parametrize(
    ("line", "package"), [("rouge_l", "rouge_score"), ("bleu", "sacrebleu"), ("chrf", "sacrebleu")]
)
def test_a_missing_package_is_named_with_its_extra(line: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (package, "rouge_score.rouge_scorer", "sacrebleu.metrics.bleu", "sacrebleu.metrics.chrf"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(RewardError, match=rf"{line} needs {package}.*pip install 'proxygold\[features\]'"):
        reward(line).score([Example("?", "a", reference="a")])
