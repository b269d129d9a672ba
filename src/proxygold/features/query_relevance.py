"""QR, the relevance of a completion to its query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxygold.features.context import FeatureContext
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example, FloatArray
from proxygold.templates import user_text

__all__ = ["query_relevance", "relevance"]


def query_relevance(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """QR = M(x) · M(ŷ): the dot product of the encoder's embeddings of query and completion.

    Source: Kim and Seo 2024, section 3.2. The query x is the user's raw text, without template or system
    text; of a conversation the user turns joined by a newline. The completion is embedded whole, not cut at
    stop strings.

    Range: the encoder's. A cosine, -1 to 1, where the encoder normalises; for Contriever without
    normalisation about 0 to 3.5. An empty completion gets the relevance of the empty text, a number like
    any other. How it is gamed: repeat the query word for word.

    >>> import numpy as np
    >>> letters = lambda texts: np.array([[t.count("a"), t.count("b")] for t in texts], dtype=np.float32)
    >>> example = Example(prompt="aab", completion="abb")
    >>> query_relevance([example], FeatureContext(embed=letters)).values.tolist()  # 2*1 + 1*2
    [4.0]
    """
    queries = context.embed_kept([user_text(example.prompt) for example in examples])
    return reasoned(relevance(queries, context.embed([example.completion for example in examples])))


def relevance(left: NDArray[np.float32], right: NDArray[np.float32]) -> FloatArray:
    """The (n,) dot products of the rows of two (n, d) arrays, in float64, each free of its neighbours."""
    products: FloatArray = np.sum(left.astype(np.float64) * right.astype(np.float64), axis=1)
    return products


register_feature(Feature(name="QR", long_name="query_relevance", compute=query_relevance, uses_encoder=True))
