"""bleu, the n-grams that completion and reference answer share."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.references import each_reference, missing_package
from proxygold.features.registry import Feature, FeatureValues, Parameter, register_feature
from proxygold.records import Example

__all__ = ["bleu"]

# Those of sacrebleu's tokenizers that need no package beside it.
_TOKENIZERS = ("13a", "intl", "char", "zh", "none")


def bleu(examples: Sequence[Example], context: FeatureContext, *, tokenize: str = "13a") -> FeatureValues:
    """bleu = min(1, e^(1 - r/c)) (p1 p2 p3 p4)^(1/4): sentence BLEU of the completion against the reference.

    p_n is the share of the completion's n-grams that the reference has, c and r are the lengths of completion
    and reference in tokens. As sacrebleu computes it for one sentence, divided by 100: case counts, precisions of
    0 are smoothed exponentially, and a text with fewer than 4 tokens is judged by the n-grams that it has
    (effective order). `tokenize` is sacrebleu's: "13a", "intl", "char", "zh" or "none".

    Source: Papineni et al. 2002; Post 2018, "A call for clarity in reporting BLEU scores". The completion is
    compared whole, not cut at stop strings.

    Range: 0 to 1; above 0.5 is nearly the reference's own wording. An empty completion gets 0. NaN, with the
    reason, where there is no reference. How it is gamed: not easily upwards without the reference; as a training
    signal it is mostly flat, and pays for wording, not for truth ("Lima" for "Oslo" costs one word).

    >>> example = Example("?", "the cat sat", reference="the cat sat")
    >>> bleu([example, Example("?", "", reference="the cat sat")], FeatureContext()).values.round(9).tolist()
    [1.0, 0.0]
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise missing_package("bleu", error) from error

    metric = BLEU(effective_order=True, tokenize=tokenize)
    return each_reference(
        examples,
        "bleu",
        # Its product of logarithms can end a last digit above 100.
        lambda reference, completion: min(1.0, metric.sentence_score(completion, [reference]).score / 100),
    )


register_feature(
    Feature(
        name="bleu",
        long_name="bleu",
        compute=bleu,
        required_columns=frozenset({"reference"}),
        parameters=MappingProxyType(
            {
                "tokenize": Parameter(
                    "13a", ", ".join(map(repr, _TOKENIZERS[:-1])) + " or 'none'", lambda value: value in _TOKENIZERS
                )
            }
        ),
    )
)
