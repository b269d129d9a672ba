"""relevant_sentences, the share of the completion's sentences that fit the query."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.registry import Feature, FeatureValues, Parameter, reasoned, register_feature
from proxygold.features.sentence_relevance import relevance_by_sentence
from proxygold.records import Example

__all__ = ["relevant_sentences"]


def relevant_sentences(
    examples: Sequence[Example], context: FeatureContext, *, threshold: float = 0.3
) -> FeatureValues:
    """relevant_sentences = the share of the sentences s of ŷ with M(x) · M(s) >= threshold.

    M is the reward's encoder, x the user's raw text as in QR. Sentences are those of `proxygold.text.sentences`, of
    the whole completion, not cut at stop strings; each is embedded once in a batch. The default threshold is a
    cosine, for an encoder that normalises, such as all-MiniLM-L6-v2; another encoder needs its own: look at
    `sentence_relevance` of some answers first.

    Source: ours, after QR of Kim and Seo 2024.

    Range: 0 to 1, in steps of one sentence. A completion without a sentence (empty, or of signs alone) gets 0. How
    it is gamed: by a single relevant sentence, which is all of them; by saying the query again in every sentence.

    >>> import numpy as np
    >>> letters = lambda texts: np.array([[t.count("a"), t.count("b")] for t in texts], dtype=np.float32)
    >>> examples = [Example(prompt="ab", completion="Aha aa. Why? B b a."), Example(prompt="ab", completion="")]
    >>> context = FeatureContext(embed=letters)  # of (1, 1) with (3, 0), (0, 0) and (1, 1)
    >>> relevant_sentences([*examples], context, threshold=2).values.round(3).tolist()
    [0.667, 0.0]
    """
    rows = relevance_by_sentence(examples, context)
    return reasoned(
        [
            float(np.mean(found >= threshold)) if any(map(str.isalnum, example.completion)) else 0.0
            for example, found in zip(examples, rows, strict=True)
        ]
    )


register_feature(
    Feature(
        name="relevant_sentences",
        long_name="relevant_sentences",
        compute=relevant_sentences,
        uses_encoder=True,
        parameters=MappingProxyType(
            {
                "threshold": Parameter(
                    0.3, "a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)
                )
            }
        ),
    )
)
