"""LI, the length incentive."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.options import WORDS
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["length_incentive"]


def length_incentive(
    examples: Sequence[Example], context: FeatureContext, *, words: str = "wordpunct"
) -> FeatureValues:
    r"""LI = words(ŷ) / 100: the longer the completion ŷ, the more.

    Source: Kim and Seo 2024, section 3.2. Words are the matches of `\w+|[^\w\s]+`, so that punctuation
    counts, in the completion cut at the first stop string and stripped. Not the paper's: `words="whitespace"`
    counts what white space separates, and `words="unicode"` the words of Unicode's rules and dictionaries, which
    Chinese, Japanese, Thai, Lao, Khmer and Burmese need, because `\w+` takes a clause of them for one word.

    Range: 0 (nothing but white space) and up, without limit; 1 is a hundred words. How it is gamed: say
    anything, on and on; repeat; write every symbol apart, `. . .` being three words. Multiply it by RP and
    QR.

    >>> example = Example(prompt="Where is Oslo?", completion="In Norway.\n\n\n\nQ: And Rome?")
    >>> length_incentive([example], FeatureContext()).values.tolist()
    [0.03]
    """
    return reasoned(context.word_batch([example.completion for example in examples], words).counts / 100)


register_feature(
    Feature(
        name="LI",
        long_name="length_incentive",
        compute=length_incentive,
        uses_stop_strings=True,
        parameters=MappingProxyType({"words": WORDS}),
    )
)
