"""rouge_l, the longest common subsequence of words with the reference answer."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.references import each_reference, missing_package
from proxygold.features.registry import Feature, FeatureValues, Parameter, register_feature
from proxygold.records import Example

__all__ = ["rouge_l"]

# The argument's word, and what rouge-score calls it.
_MEASURES = MappingProxyType({"f1": "fmeasure", "precision": "precision", "recall": "recall"})


def rouge_l(
    examples: Sequence[Example], context: FeatureContext, *, measure: str = "f1", stemmer: bool = False
) -> FeatureValues:
    """rouge_l = 2 P R / (P + R), P = LCS / words(ŷ), R = LCS / words(y): ROUGE-L of completion ŷ and reference y.

    LCS is the length of the longest run of words that both have in this order, with gaps allowed. Computed by
    the rouge-score package: words are what is left of the lower-case text between characters other than a-z and
    0-9. `measure` is "f1", "precision" or "recall"; `stemmer=True` compares Porter stems, so that "cats" meets
    "cat".

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries". The completion is compared
    whole, not cut at stop strings.

    Range: 0 to 1. An empty completion gets 0. NaN, with the reason, where there is no reference or none of its
    characters is a-z or 0-9 (an answer in Chinese: use chrf). How it is gamed: recall by saying every word that
    could occur, precision by saying one sure word; common words alone ("the", "of") give 0.1 to 0.2.

    >>> example = Example("?", "the cat sat down", reference="The cat lay down.")
    >>> rouge_l([example], FeatureContext()).values.tolist()  # the, cat, down: 3 of 4 and 3 of 4
    [0.75]
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise missing_package("rouge_l", error) from error

    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    readable = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")

    def compare(reference: str, completion: str) -> float | str:
        if readable.isdisjoint(reference.lower()):
            return "the reference has no letter a to z and no digit, and ROUGE reads nothing else (chrf does)"
        return float(getattr(scorer.score(reference, completion)["rougeL"], _MEASURES[measure]))

    return each_reference(examples, "rouge_l", compare)


register_feature(
    Feature(
        name="rouge_l",
        long_name="rouge_l",
        compute=rouge_l,
        required_columns=frozenset({"reference"}),
        parameters=MappingProxyType(
            {
                "measure": Parameter("f1", "'f1', 'precision' or 'recall'", lambda value: value in tuple(_MEASURES)),
                "stemmer": Parameter(False, "True or False", lambda value: isinstance(value, bool)),
            }
        ),
    )
)
