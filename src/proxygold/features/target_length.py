"""target_length, how near a completion is to a wanted length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.length import LENGTH_PARAMETERS, lengths, tokenizers_of
from proxygold.features.registry import Argument, Feature, FeatureValues, Parameter, reasoned, register_feature
from proxygold.models.bundled import BUNDLED_ENCODER
from proxygold.records import Example

__all__ = ["target_length"]

_DEFAULT = 200


def target_length(
    examples: Sequence[Example],
    context: FeatureContext,
    *,
    target: float = _DEFAULT,
    unit: str = "words",
    words: str = "wordpunct",
    model: str = BUNDLED_ENCODER,
) -> FeatureValues:
    """target_length = 1 - |length / target - 1|: highest at the target length, falling evenly on both sides.

    Source: the reward of length-only PPO (LPPO) in Singhal et al. 2023, "A Long Way to Go". They count tokens:
    `unit="tokens"` with the policy as `model`; here words are the default, so that nothing is loaded. `unit`,
    `words` and `model` are those of `length`. The default target of 200 is ours.

    Range: 1 at the target, 0 for an empty completion and at twice the target, below 0 beyond, without limit. A factor
    that may be negative turns a product around: write `max(0, target_length)` there. How it is gamed: any
    words of the right number.

    >>> examples = [Example("?", text) for text in ("", "one two", "one two three four five")]
    >>> target_length(examples, FeatureContext(), target=4).values.tolist()
    [0.0, 0.5, 0.75]
    """
    ratio = lengths(examples, context, unit, words, model) / target
    return reasoned(1 - np.abs(ratio - 1))


def _is_target(value: Argument) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < math.inf


register_feature(
    Feature(
        name="target_length",
        long_name="target_length",
        compute=target_length,
        uses_stop_strings=True,
        models=tokenizers_of,
        parameters=MappingProxyType(
            {"target": Parameter(_DEFAULT, "a number above 0", _is_target), **LENGTH_PARAMETERS}
        ),
    )
)
