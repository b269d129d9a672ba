"""ROUGE-L and exact match as Super-NaturalInstructions scores answers."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from proxygold.evaluation.super_ni.data import Instance
from proxygold.features.references import missing_package
from proxygold.records import FloatArray

__all__ = ["InstanceScores", "RougeL", "exact_match", "rouge_readable", "score_instances"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_READ = frozenset(string.ascii_lowercase + string.digits)


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Of each instance, (n,) float64 of 0 to 100, NaN without an answer: ROUGE-L with the first reference and with the
    one that fits best, and exact match with any."""

    rouge_l_first: FloatArray
    rouge_l_best: FloatArray
    exact_match: FloatArray


def score_instances(instances: Sequence[Instance], answers: Sequence[str | None]) -> InstanceScores:
    """Scores of answers. Raises RewardError when rouge-score is not installed."""
    rouge = RougeL()
    scores = np.full((3, len(instances)), np.nan)
    for place, (instance, answer) in enumerate(zip(instances, answers, strict=True)):
        if answer is not None:
            each = rouge.of_each(answer, instance.references)
            scores[:, place] = each[0], max(each), exact_match(answer, instance.references)
    return InstanceScores(*(100 * scores))


class RougeL:
    """ROUGE-L F1 with Porter stems, of 0 to 1: rouge-score's, as the original tool calls it.

    Each word is stemmed once: stemming is most of what rouge-score does. Raises RewardError when rouge-score is not
    installed.
    """

    def __init__(self) -> None:
        try:
            from nltk.stem.porter import PorterStemmer
            from rouge_score.rouge_scorer import RougeScorer
            from rouge_score.tokenize import tokenize
        except ImportError as error:
            raise missing_package("ROUGE-L", error) from error

        class Stems:
            stem = staticmethod(lru_cache(maxsize=1 << 17)(PorterStemmer().stem))

        class Tokenizer:
            @staticmethod
            def tokenize(text: str) -> list[str]:
                tokens: list[str] = tokenize(text, Stems)
                return tokens

        self._scorer: Any = RougeScorer(["rougeL"], tokenizer=Tokenizer())

    def of_each(self, answer: str, references: Sequence[str]) -> list[float]:
        """F1 with each reference. An answer or a reference of which ROUGE reads nothing gets 0."""
        return [float(self._scorer.score(reference, answer)["rougeL"].fmeasure) for reference in references]


def rouge_readable(text: str) -> bool:
    """Whether ROUGE reads anything of a text: a letter a to z or a digit."""
    return not _READ.isdisjoint(text.lower())


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """Whether the answer is one of the references: letter case, ASCII punctuation and white space aside.

    >>> exact_match(" Not  sure. ", ["yes", "not sure"]), exact_match("a b", ["ab"])
    (True, False)
    """
    found = _normalized(answer)
    return any(_normalized(reference) == found for reference in references)


def _normalized(text: str) -> str:
    return " ".join(text.lower().translate(_PUNCTUATION).split())
