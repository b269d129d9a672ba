"""reading_grade, the school year that a completion's English asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from proxygold.features.context import FeatureContext
from proxygold.features.phrases import english_words
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.features.syllables import syllables
from proxygold.records import Example

__all__ = ["reading_grade"]


def reading_grade(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """reading_grade = 0.39 words / sentences + 11.8 syllables / words - 15.59: the Flesch-Kincaid grade level.

    Source: Kincaid et al. 1975, for English. Words are runs of letters of which one at least is from a to z, sentences
    those of `proxygold.text.sentences` (every line is one at least), syllables counted by rules, in the completion cut
    at the first stop string.

    Range: -3.4 (one short word to a sentence) and up, without limit; 8 is a newspaper, 12 and more a scientific text.
    A completion without such a word has none: NaN, with that reason. A very short one jumps with each syllable. How it
    is gamed: one endless sentence of long words for a high grade, `I do. I do.` for a low one.

    >>> example = Example(prompt="Say it.", completion="The cat sat on the mat.")  # 0.39 * 6 + 11.8 * 1 - 15.59
    >>> reading_grade([example, Example("?", "42")], FeatureContext())
    FeatureValues(values=array([-1.45,   nan]), reasons=(None, 'reading_grade: the completion has no English word'))
    """
    completions = [example.completion for example in examples]
    values = [_grade(context.trimmed(completion), context.sentences(completion)) for completion in completions]
    missing = "reading_grade: the completion has no English word"
    return reasoned(values, [missing if math.isnan(value) else None for value in values])


def _grade(text: str, sentences: Sequence[str]) -> float:
    counts = [count for word in english_words(text) if (count := syllables(word))]
    if not counts:
        return math.nan
    return 0.39 * len(counts) / len(sentences) + 11.8 * sum(counts) / len(counts) - 15.59


register_feature(
    Feature(name="reading_grade", long_name="reading_grade", compute=reading_grade, uses_stop_strings=True)
)
