"""list_density, how much of a completion is lists."""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.features.context import FeatureContext
from proxygold.features.markdown import count_markdown
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["list_density"]


def list_density(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """list_density = lines that begin a list item / lines that are not blank.

    Source: lists are among the styles that human and model judges prefer whatever they say (Zhang et al. 2024, "From
    Lists to Emojis: How Format Bias Affects Model Alignment"; the style control of Chatbot Arena, 2024). An item begins
    with `-`, `*`, `+`, `•`, `‣`, `◦` or `–`, or with a number and `.` or `)`; nested and quoted ones count, lines of
    code do not. Of the completion cut at the first stop string.

    Range: 0 to 1, a bare list. An empty completion gets 0. How it is gamed: break any prose into items; put a dash
    before the only line.

    >>> example = Example(prompt="How?", completion="Do this:\\n\\n1. Mix.\\n2. Bake.\\n\\nEnjoy.")
    >>> list_density([example], FeatureContext()).values.tolist()
    [0.5]
    """
    counted = [count_markdown(context.trimmed(example.completion)) for example in examples]
    return reasoned([found.items / max(found.lines, 1) for found in counted])


register_feature(Feature(name="list_density", long_name="list_density", compute=list_density, uses_stop_strings=True))
