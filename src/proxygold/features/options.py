"""Arguments that several features take."""

from __future__ import annotations

from proxygold.features.registry import Argument, Parameter
from proxygold.text import WORD_KINDS

__all__ = ["MAX_N", "WORDS", "one_of", "size_of_ngrams"]

MAX_N = 100


def one_of(default: str, *others: str) -> Parameter:
    """An argument that is one of a few texts.

    >>> one_of("words", "sentences").allowed
    "'words' or 'sentences'"
    """
    allowed = (default, *others)
    *first, last = map(repr, allowed)
    return Parameter(default, f"{', '.join(first)} or {last}", lambda value: value in allowed)


def size_of_ngrams(default: int) -> Parameter:
    """How many words an n-gram has."""

    def accepts(value: Argument) -> bool:
        return type(value) is int and 1 <= value <= MAX_N

    return Parameter(default, f"a whole number from 1 to {MAX_N}", accepts)


# What a word is: see `proxygold.text.split_words`.
WORDS = one_of(*WORD_KINDS)
