r"""Where a text says its final answer: by a box, by a marker, or not at all.

1. The content of the last `\boxed{…}` or `\fbox{…}`, braces matched.
2. What follows the last marker: `####` (GSM8K), `answer is`, `answer:`, or `A:` at the start of a line. Taken is the
   rest of that line; where it is empty, the next line that is not, or a formula set apart by `$$` or `\[`.
3. Without either, the whole text.

The last one counts, because a text may weigh wrong answers before it decides. Every search is linear in the length of
the text, whatever it holds.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Literal, NamedTuple

__all__ = ["FinalAnswer", "final_answer"]

_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]{0,8}\{")
_MARKER = re.compile(
    r"\#{4}"
    r"|\banswer[*_]{0,3}[ \t]{0,8}(?:is\b|:|=)[*_]{0,3}[ \t]{0,8}:?"
    r"|^[ \t>*_]{0,8}(?-i:A)[*_]{0,3}[ \t]{0,8}:",
    re.IGNORECASE | re.MULTILINE,
)
# What opens a formula that is set apart from the text, and what closes it.
_DISPLAYS = {"$$": "$$", r"\[": r"\]"}
# Markdown around an answer is no part of it.
_EMPHASIS = "*_ \t"


class FinalAnswer(NamedTuple):
    """`kind` says where the text was found."""

    text: str
    kind: Literal["boxed", "marked", "whole"]


def final_answer(text: str) -> FinalAnswer:
    r"""The final answer of `text`, without white space and Markdown emphasis around it.

    >>> final_answer("First I thought the answer is 5.\nThe answer is **6**.")
    FinalAnswer(text='6**.', kind='marked')
    >>> final_answer("So \\boxed{\\frac{1}{2}} it is.").text
    '\\frac{1}{2}'
    >>> final_answer("Oslo").kind
    'whole'
    """
    if box := _last(_BOX, text):
        return FinalAnswer(_braced(text, box.end()).strip(), "boxed")
    marker = _last(_MARKER, text)
    if marker is None:
        return FinalAnswer(text.strip(), "whole")
    return FinalAnswer(_first_line(text[marker.end() :].lstrip()).strip(_EMPHASIS), "marked")


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _braced(text: str, start: int) -> str:
    """From `start` to the brace that closes what was opened before it; to the line's end when none does."""
    depth = 1
    for place in range(start, len(text)):
        if text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return text[start:place]
    return text[start:].partition("\n")[0]


def _first_line(text: str) -> str:
    for opening, closing in _DISPLAYS.items():
        if text.startswith(opening):
            end = text.find(closing, len(opening))
            return text[: end + len(closing)] if end >= 0 else text.partition("\n")[0]
    return text.partition("\n")[0]
