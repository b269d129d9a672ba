"""BLEU of each answer against the others: by hand, and equal to nltk's whatever the texts."""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from proxygold.evaluation.self_bleu import leave_one_out as module
from proxygold.evaluation.self_bleu.leave_one_out import leave_one_out_bleu
from proxygold.text import words

OUTPUTS = Path(__file__).parents[2] / "../shared/data/alpaca_eval_outputs"


def split(*answers: str) -> list[list[str]]:
    return [answer.split() for answer in answers]


def nltk_bleu(answers: list[list[str]], order: int = 4) -> list[float]:
    """As Texygen calls it, each answer with the others for references."""
    smooth = SmoothingFunction().method1
    weights = [1 / order] * order
    return [
        float(sentence_bleu(answers[:place] + answers[place + 1 :], answer, weights, smooth))
        for place, answer in enumerate(answers)
    ]


def test_by_hand() -> None:
    answers = split("a b c d e", "a b c d f", "x y")
    (scores,) = leave_one_out_bleu([answers])
    # The first shares 4 of 5 words with the second, 3 of 4 pairs, 2 of 3 triples and 1 of 2 quadruples, and another
    # answer is as long: (4/5 * 3/4 * 2/3 * 1/2) ^ (1/4) = (1/5) ^ (1/4). The third shares no word with anyone.
    assert scores == pytest.approx([0.2**0.25, 0.2**0.25, 0.0], abs=1e-12)


def test_a_count_is_clipped_at_the_most_that_one_other_answer_has() -> None:
    # "a" four times, but no other answer has it more than twice: 2 of 4. Two others of one "a" each would not add up.
    (scores,) = leave_one_out_bleu([split("a a a a", "a a b b", "a c c c")], order=1)
    assert scores[0] == pytest.approx(2 / 4)
    # Of "a a b b" both a are in the first; b is nowhere else: 2 of 4. Of "a c c c" only a: 1 of 4.
    assert scores[1:] == pytest.approx([2 / 4, 1 / 4])


def test_no_match_of_an_order_counts_as_a_tenth() -> None:
    # "a b c" against "a x c": 2 of 3 words, no pair: 0.1 of 2, so sqrt(2/3 * 0.1/2).
    (scores,) = leave_one_out_bleu([split("a b c", "a x c")], order=2)
    assert scores == pytest.approx([math.sqrt(2 / 3 * 0.05)] * 2)


def test_a_short_answer_pays_for_the_nearest_length_the_shorter_of_two_equally_near() -> None:
    # 4 words between 2 and 6, equally near: the shorter counts, no penalty. 2 words: the nearest has 4, exp(1 - 4/2).
    # 6 words: longer than any other, no penalty.
    (scores,) = leave_one_out_bleu([split("a " * 4, "a " * 2, "a " * 6)], order=1)
    assert scores == pytest.approx([1.0, math.exp(1 - 4 / 2), 4 / 6])


def test_prompts_do_not_see_each_other() -> None:
    same, other = split("a b c d e", "v w x y z")
    first, second = leave_one_out_bleu([[same, other], [same, same]])
    assert first.tolist() == [0.0, 0.0]
    assert second == pytest.approx([1.0, 1.0])


def test_empty_answers_get_nothing_and_a_lone_answer_has_nothing_to_be_like() -> None:
    found = list(leave_one_out_bleu([[[], ["a"]], [[], []], [["a"]], []]))
    assert found[0].tolist() == [0.0, 0.0]
    assert found[1].tolist() == [0.0, 0.0]
    assert np.isnan(found[2]).tolist() == [True]
    assert found[3].tolist() == []
    assert list(leave_one_out_bleu([])) == []


@pytest.mark.parametrize(
    ("largest", "group"), [(1 << 62, 1 << 15), (1 << 12, 1 << 15), (1 << 62, 7)], ids=["plain", "renumbered", "groups"]
)
def test_equal_to_nltk_on_random_answers(monkeypatch: pytest.MonkeyPatch, largest: int, group: int) -> None:
    """`renumbered`: n-grams get new numbers before theirs would be too large; `groups`: prompts come in many groups."""
    monkeypatch.setattr(module, "_LARGEST", largest)
    monkeypatch.setattr(module, "_GROUP", group)
    draw = random.Random(0)
    for order in (1, 2, 4, 5):
        prompts = []
        for _ in range(30):
            vocabulary = "abcdefgh"[: draw.randint(1, 8)]
            sizes = [draw.choice([0, 1, 2, 3, 5, 9, 30]) for _ in range(draw.randint(2, 6))]
            prompts.append([[draw.choice(vocabulary) for _ in range(size)] for size in sizes])
        found = list(leave_one_out_bleu(prompts, order))
        for answers, scores in zip(prompts, found, strict=True):
            assert scores == pytest.approx(nltk_bleu(answers, order), abs=1e-12)


@pytest.mark.skipif(not OUTPUTS.exists(), reason=f"needs {OUTPUTS}")
def test_equal_to_nltk_on_real_answers() -> None:
    """The answers of ten models stand in for ten samples of one."""
    texts = []
    for path in sorted(OUTPUTS.glob("*.jsonl.gz"))[::4][:10]:
        with gzip.open(path, "rt") as lines:
            texts.append([json.loads(line)["output"] for line, _ in zip(lines, range(12), strict=False)])
    prompts = [[words(text) for text in answers] for answers in zip(*texts, strict=True)]
    assert len(prompts) == 12
    assert len(prompts[0]) == 10
    for answers, scores in zip(prompts, leave_one_out_bleu(prompts), strict=True):
        assert scores == pytest.approx(nltk_bleu(answers), abs=1e-9)
