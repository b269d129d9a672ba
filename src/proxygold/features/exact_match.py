"""exact_match, whether the completion's final answer is the reference's, word for word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.final_answer import final_answer
from proxygold.features.references import each_reference
from proxygold.features.registry import Feature, FeatureValues, Parameter, register_feature
from proxygold.records import Example
from proxygold.text import sentences

__all__ = ["exact_match", "normalize_answer"]

_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)[ \t]{0,8}\{([^{}]*)\}")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MINUS = re.compile(r"[−‐‑‒–](?=\.?\d)")
# All that is no word and no sign of arithmetic, but for the point or colon or slash within a number, a number's minus,
# per cent, and the sharp of C#.
_DROPPED = re.compile(r"(?!(?<=\d)[./:](?=\d)|(?<!\w)-(?=\.?\d)|%|(?<=\w)\#)[^\w\s+=<>×÷≤≥≠±√°^|~]|_")
_LEADING_NUMBER = re.compile(r"[^\s\w]?[\d.,/:]*\d%?(?=[.!?]?[*_]{0,3}(?:\s|$))")
# "(B) the Nile", "B. Because": where the reference is one letter, that of a choice.
_OPTION = re.compile(r"[*_(\[]{0,3}([^\W\d_])(?:[*_]{0,2}[).:\]]|[*_]{1,2}(?=\s|$))")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def exact_match(examples: Sequence[Example], context: FeatureContext, *, find: str = "final") -> FeatureValues:
    r"""exact_match = 1 where the final answers of completion and reference are the same text, else 0.

    The final answer, of both: the last `\boxed{…}`; else the sentence after the last `####`, `answer is`,
    `answer:`, or `A:` at the start of a line; else the whole text. Where the reference is a single letter, the letter
    that begins the completion's answer counts, as in `B. Because …`. `find="whole"` compares the whole texts. The
    completion is first cut at its stop strings: what a model says after it has answered is no answer.

    Compared is what is left after normalisation (SQuAD's, with numbers kept whole): Unicode compatibility form,
    lower case, `\text{…}` replaced by its content, no commas in thousands, no punctuation and no currency signs, no
    articles (a, an, the), single spaces. Kept are signs of arithmetic, `%`, and within a number its minus, point,
    colon and slash. 5 is not 5.0 here: see math_match.

    Source: Rajpurkar et al. 2016 (SQuAD); `####` is that of GSM8K (Cobbe et al. 2021).

    Range: 0 or 1. An empty completion gets 0. NaN, with the reason, where there is no reference or nothing is
    left of it. How it is gamed: by guessing, where answers are few (yes or no): training can reach the base rate
    without learning anything.

    >>> examples = [Example("?", "I think. The answer is the Nile.", reference="Nile"),
    ...             Example("?", "It is the Nile.", reference="Nile")]
    >>> exact_match(examples, FeatureContext()).values.tolist()
    [1.0, 0.0]
    """

    def compare(reference: str, completion: str) -> float | str:
        expected = normalize_answer(_answer(reference, find))
        if not expected:
            return "nothing is left of the reference after normalisation"
        answer = _answer(context.trimmed(completion), find)
        if find == "final" and len(expected) == 1 and (option := _OPTION.match(answer)):
            answer = option[1]
        return float(normalize_answer(answer) == expected)

    return each_reference(examples, "exact_match", compare)


def normalize_answer(text: str) -> str:
    r"""The form in which answers are compared.

    >>> [normalize_answer(text) for text in ("The U.S.A.", " $1,234.50 ", r"\text{New  York}!", "-3/4", "C#, not C++")]
    ['usa', '1234.50', 'new york', '-3/4', 'c# not c++']
    """
    text = _LATEX_TEXT.sub(r"\1", unicodedata.normalize("NFKC", text).casefold())
    text = _DROPPED.sub("", _THOUSANDS.sub("", _MINUS.sub("-", text)))
    # The option "A" is no article.
    return " ".join(_ARTICLES.sub(" ", text).split() or text.split())


def _answer(text: str, find: str) -> str:
    if find == "whole":
        return text
    answer = final_answer(text)
    if answer.kind != "marked":
        return answer.text
    if found := _LEADING_NUMBER.match(answer.text):  # to `sentences` the number of an item, "18. Fill the pan."
        return found[0]
    return next(iter(sentences(answer.text)), "")


register_feature(
    Feature(
        name="exact_match",
        long_name="exact_match",
        compute=exact_match,
        required_columns=frozenset({"reference"}),
        uses_stop_strings=True,
        parameters=MappingProxyType(
            {"find": Parameter("final", "'final' or 'whole'", lambda value: value in ("final", "whole"))}
        ),
    )
)
