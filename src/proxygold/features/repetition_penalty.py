"""RP, the repetition penalty."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.registry import (
    Argument,
    Feature,
    FeatureValues,
    Parameter,
    reasoned,
    register_feature,
)
from proxygold.records import Example
from proxygold.text import ngrams

__all__ = ["repetition_penalty"]

_MAX_N = 100


def repetition_penalty(examples: Sequence[Example], context: FeatureContext, *, n: int = 3) -> FeatureValues:
    """RP = unique n-grams / n-grams of the completion, trigrams unless `n` says otherwise.

    Source: Kim and Seo 2024, section 3.2. Over the same words as LI, in the completion cut at the first
    stop string.

    Range: above 0, which endless repetition approaches, to 1, no n-gram twice. A completion of fewer than
    `n` words has no n-gram and gets 1, as in the paper's released code, an empty one too. How it is gamed:
    say nothing, or vary the words without meaning; alone it prefers the shortest answer. Multiply it with
    LI.

    >>> example = Example(prompt="Count.", completion="one two one two one two")
    >>> repetition_penalty([example], FeatureContext()).values.tolist()
    [0.5]
    """
    return reasoned([_distinct_share(context.words(example.completion), n) for example in examples])


def _distinct_share(tokens: list[str], n: int) -> float:
    total = len(tokens) - n + 1
    return len(set(ngrams(tokens, n))) / total if total > 0 else 1.0


def _is_size(value: Argument) -> bool:
    return type(value) is int and 1 <= value <= _MAX_N


register_feature(
    Feature(
        name="RP",
        long_name="repetition_penalty",
        compute=repetition_penalty,
        uses_stop_strings=True,
        parameters=MappingProxyType({"n": Parameter(3, f"a whole number from 1 to {_MAX_N}", _is_size)}),
    )
)
