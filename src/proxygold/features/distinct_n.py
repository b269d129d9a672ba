"""distinct_n, the variety of a completion's words."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.options import WORDS, size_of_ngrams
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["distinct_n"]


def distinct_n(
    examples: Sequence[Example], context: FeatureContext, *, n: int = 2, words: str = "wordpunct"
) -> FeatureValues:
    """distinct_n = distinct n-grams / words of the completion: distinct-1, distinct-2 and so on.

    Source: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", there over all
    responses together, here of each by itself. RP divides by the n-grams instead of the words, and is 1 where there is
    no n-gram. `words` are those of LI, in the completion cut at the first stop string.

    Range: 0 to 1. A completion of fewer than `n` words has no n-gram and gets 0, an empty one too: silence is not
    variety. How it is gamed: short answers, because words recur in long ones; lists of unrelated words.

    >>> example = Example(prompt="Count.", completion="one two one two one two")
    >>> distinct_n([example], FeatureContext(), n=1).values.round(4).tolist()
    [0.3333]
    """
    batch = context.word_batch([example.completion for example in examples], words)
    return reasoned(batch.distinct_ngrams(n) / np.maximum(batch.counts, 1))


register_feature(
    Feature(
        name="distinct_n",
        long_name="distinct_n",
        compute=distinct_n,
        uses_stop_strings=True,
        parameters=MappingProxyType({"n": size_of_ngrams(2), "words": WORDS}),
    )
)
