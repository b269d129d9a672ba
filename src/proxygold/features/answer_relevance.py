"""AR, the relevance of a completion to the reference answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.query_relevance import relevance
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["answer_relevance"]


def answer_relevance(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """AR = M(y) · M(ŷ): the dot product of the encoder's embeddings of reference answer and completion.

    Source: Kim and Seo 2024, section 3.2. The completion is embedded whole, not cut at stop strings. An
    example whose reference is missing or blank gets NaN with that reason, never 0.

    Range: as QR, the encoder's; it can be negative. An empty completion gets the relevance of the empty
    text. How it is gamed: words of the topic without the answer, "Lima" for "Oslo" being nearly as close.

    >>> import numpy as np
    >>> letters = lambda texts: np.array([[t.count("a"), t.count("b")] for t in texts], dtype=np.float32)
    >>> example = Example(prompt="?", completion="abb", reference="bb")
    >>> answer_relevance([example, Example("?", "abb")], FeatureContext(embed=letters))  # 0*1 + 2*2
    FeatureValues(values=array([ 4., nan]), reasons=(None, 'AR: the example has no reference'))
    """
    values = np.full(len(examples), np.nan)
    given = [row for row, example in enumerate(examples) if example.reference and example.reference.strip()]
    if given:
        references = context.embed_kept([examples[row].reference or "" for row in given])
        values[given] = relevance(references, context.embed([examples[row].completion for row in given]))
    has_reference = set(given)
    reasons = [None if row in has_reference else "AR: the example has no reference" for row in range(len(examples))]
    return reasoned(values, reasons)


register_feature(
    Feature(
        name="AR",
        long_name="answer_relevance",
        compute=answer_relevance,
        required_columns=frozenset({"reference"}),
        uses_encoder=True,
    )
)
