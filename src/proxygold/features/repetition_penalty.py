"""RP, the repetition penalty."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.options import WORDS, size_of_ngrams
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["repetition_penalty"]


def repetition_penalty(
    examples: Sequence[Example], context: FeatureContext, *, n: int = 3, words: str = "wordpunct"
) -> FeatureValues:
    """RP = unique n-grams / n-grams of the completion, trigrams unless `n` says otherwise.

    Source: Kim and Seo 2024, section 3.2. Over the same words as LI, which takes the same `words`, in the completion
    cut at the first stop string.

    Range: above 0, which endless repetition approaches, to 1, no n-gram twice. A completion of fewer than
    `n` words has no n-gram and gets 1, as in the paper's released code, an empty one too. How it is gamed:
    say nothing, or vary the words without meaning; alone it prefers the shortest answer. Multiply it with
    LI.

    >>> example = Example(prompt="Count.", completion="one two one two one two")
    >>> repetition_penalty([example], FeatureContext()).values.tolist()
    [0.5]
    """
    batch = context.word_batch([example.completion for example in examples], words)
    total = batch.counts - n + 1
    return reasoned(np.where(total > 0, batch.distinct_ngrams(n) / np.maximum(total, 1), 1.0))


register_feature(
    Feature(
        name="RP",
        long_name="repetition_penalty",
        compute=repetition_penalty,
        uses_stop_strings=True,
        parameters=MappingProxyType({"n": size_of_ngrams(3), "words": WORDS}),
    )
)
