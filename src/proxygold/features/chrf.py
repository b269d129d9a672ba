"""chrf, the character n-grams that completion and reference answer share."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.references import each_reference, missing_package
from proxygold.features.registry import Feature, FeatureValues, Parameter, register_feature
from proxygold.records import Example

__all__ = ["chrf"]


def chrf(examples: Sequence[Example], context: FeatureContext, *, word_order: int = 0, beta: int = 2) -> FeatureValues:
    """chrf = (1 + β²) P R / (β² P + R): the F-score of character n-grams, n = 1 to 6, without white space.

    P is the mean share of the completion's n-grams that the reference has, R the mean share of the reference's
    that the completion has; β = 2 counts R for more. `word_order=2` adds words and pairs of words (chrF++). As
    sacrebleu computes it for one sentence, divided by 100.

    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; 2017 for chrF++. The
    completion is compared whole, not cut at stop strings.

    Range: 0 to 1, in any script; unrelated English texts share about 0.2. An empty completion gets 0. NaN, with
    the reason, where there is no reference. How it is gamed: by length, since recall counts for more and a long
    text has most short n-grams.

    >>> example = Example("?", "Oslo", reference="Oslo")
    >>> chrf([example, Example("?", "xyz", reference="Oslo")], FeatureContext()).values.round(9).tolist()
    [1.0, 0.0]
    """
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise missing_package("chrf", error) from error

    metric = CHRF(word_order=word_order, beta=beta)
    return each_reference(
        examples,
        "chrf",
        lambda reference, completion: metric.sentence_score(completion, [reference]).score / 100,
    )


register_feature(
    Feature(
        name="chrf",
        long_name="chrf",
        compute=chrf,
        required_columns=frozenset({"reference"}),
        parameters=MappingProxyType(
            {
                "word_order": Parameter(
                    0, "a whole number from 0 to 2", lambda value: type(value) is int and 0 <= value <= 2
                ),
                "beta": Parameter(
                    2, "a whole number from 1 to 10", lambda value: type(value) is int and 1 <= value <= 10
                ),
            }
        ),
    )
)
