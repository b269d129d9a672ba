"""LI, the length incentive."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.registry import Feature, FeatureValues, Parameter, reasoned, register_feature
from proxygold.records import Example

__all__ = ["length_incentive"]


def length_incentive(
    examples: Sequence[Example], context: FeatureContext, *, words: str = "wordpunct"
) -> FeatureValues:
    r"""LI = words(ŷ) / 100: the longer the completion ŷ, the more.

    Source: Kim and Seo 2024, section 3.2. Words are the matches of `\w+|[^\w\s]+`, so that punctuation
    counts, in the completion cut at the first stop string and stripped. `words="whitespace"` counts what
    white space separates instead (not the paper's).

    Range: 0 (nothing but white space) and up, without limit; 1 is a hundred words. How it is gamed: say
    anything, on and on; repeat; write every symbol apart, `. . .` being three words. Multiply it by RP and
    QR.

    >>> example = Example(prompt="Where is Oslo?", completion="In Norway.\n\n\n\nQ: And Rome?")
    >>> length_incentive([example], FeatureContext()).values.tolist()
    [0.03]
    """
    if words == "whitespace":
        return reasoned([len(context.trimmed(example.completion).split()) / 100 for example in examples])
    return reasoned([len(context.words(example.completion)) / 100 for example in examples])


register_feature(
    Feature(
        name="LI",
        long_name="length_incentive",
        compute=length_incentive,
        uses_stop_strings=True,
        parameters=MappingProxyType(
            {
                "words": Parameter(
                    "wordpunct",
                    "'wordpunct' or 'whitespace'",
                    lambda value: value in ("wordpunct", "whitespace"),
                )
            }
        ),
    )
)
