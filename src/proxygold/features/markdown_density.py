"""markdown_density, how much Markdown a completion has for its words."""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.features.context import FeatureContext
from proxygold.features.markdown import count_markdown
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["markdown_density"]


def markdown_density(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """markdown_density = headers, bold spans, list items, code blocks and table rows / words between white space.

    Source: the style control of Chatbot Arena (2024), which counts headers, lists and bold spans to take out what they
    win by themselves; Zhang et al. 2024, "From Lists to Emojis". Each element counts once, whatever its size; what is
    in a code block is code. Of the completion cut at the first stop string.

    Range: 0 (plain text, and an empty completion) and up; a text that is nothing but marks has 1 or a little
    more. How it is gamed: bold single words, one item to a line.

    >>> example = Example(prompt="How?", completion="## Plan\\n- **Mix** it all well\\n- Bake")
    >>> markdown_density([example], FeatureContext()).values.tolist()  # a header, a bold span, two items; 9 words
    [0.4444444444444444]
    """
    values = []
    for example in examples:
        text = context.trimmed(example.completion)
        values.append(count_markdown(text).elements / max(len(text.split()), 1))
    return reasoned(values)


register_feature(
    Feature(name="markdown_density", long_name="markdown_density", compute=markdown_density, uses_stop_strings=True)
)
