"""compression_ratio, how much smaller a completion can be packed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from proxygold.features.context import FeatureContext
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["compression_ratio"]

_LEVEL = 9


def compression_ratio(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """compression_ratio = bytes of the completion in UTF-8 / bytes of it packed by zlib at level 9.

    The more a text repeats itself, at any distance and of any length, the higher. Source: Shaib et al. 2024,
    "Standardizing the Measurement of Text Diversity", who pack all responses together with gzip; here each by itself.
    Of the completion cut at the first stop string.

    Range: 0 (empty) to about 1,000. Prose of some paragraphs has about 2, an endless loop 10 and more. Below some 100
    bytes the frame of zlib weighs more than the text, and the ratio is below 1, so compare texts of like length only.
    Builds of Python on another zlib (zlib-ng) can pack a little better or worse. Higher is worse, as a rule. How it is
    gamed: short answers; random letters.

    >>> examples = [Example("?", text) for text in ("", "yes", "yes " * 100)]
    >>> (compression_ratio(examples, FeatureContext()).values > 10).tolist()
    [False, False, True]
    """
    return reasoned([_ratio(context.trimmed(example.completion)) for example in examples])


def _ratio(text: str) -> float:
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data, _LEVEL))


register_feature(
    Feature(
        name="compression_ratio",
        long_name="compression_ratio",
        compute=compression_ratio,
        uses_stop_strings=True,
    )
)
