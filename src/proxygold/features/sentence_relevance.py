"""sentence_relevance, the relevance to the query of the completion's least relevant sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.query_relevance import relevance
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example, FloatArray
from proxygold.templates import user_text
from proxygold.text import sentences

__all__ = ["relevance_by_sentence", "sentence_relevance"]


def sentence_relevance(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """sentence_relevance = min over the sentences s of ŷ of M(x) · M(s): QR of the sentence that fits the query least.

    M is the reward's encoder, x the user's raw text as in QR. Sentences are those of `proxygold.text.sentences`, of
    the whole completion, not cut at stop strings; each is embedded once in a batch.

    Source: ours, after QR of Kim and Seo 2024: one embedding of a long answer hides a paragraph that strays, the
    minimum over sentences does not.

    Range: the encoder's, as QR; lower than QR as a rule, and the lower the more sentences there are. A completion
    without a sentence (empty, or of signs alone) gets the relevance of the text that it is. How it is gamed: by
    one long sentence; by saying the query again in every sentence. With LI, which pays for many sentences, the two
    pull against each other.

    >>> import numpy as np
    >>> letters = lambda texts: np.array([[t.count("a"), t.count("b")] for t in texts], dtype=np.float32)
    >>> example = Example(prompt="ab", completion="Abba aa. B b a.")  # of (1, 1) with (3, 2) and (1, 1)
    >>> sentence_relevance([example], FeatureContext(embed=letters)).values.tolist()
    [2.0]
    """
    return reasoned([found.min() for found in relevance_by_sentence(examples, context)])


def relevance_by_sentence(examples: Sequence[Example], context: FeatureContext) -> list[FloatArray]:
    """For each of n examples the relevance of its sentences to its query, (sentences,) float64.

    A completion without a sentence counts as one.
    """
    if not examples:
        return []
    by_row = [sentences(example.completion) or [example.completion] for example in examples]
    # Embedded in one call for all rows, so that short sentences share forward passes.
    embedded = context.embed([sentence for found in by_row for sentence in found])
    queries = context.embed_kept([user_text(example.prompt) for example in examples])
    counts = np.array([len(found) for found in by_row])
    products = relevance(np.repeat(queries, counts, axis=0), embedded)
    return np.split(products, np.cumsum(counts)[:-1])


register_feature(
    Feature(name="sentence_relevance", long_name="sentence_relevance", compute=sentence_relevance, uses_encoder=True)
)
