"""Words, n-grams and stop trimming: pure functions, and the only text cleaning there is.

A word is a match of `\\w+|[^\\w\\s]+`, NLTK's wordpunct, as in the paper's released code: punctuation
counts as words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["GENERIC_STOP_STRINGS", "ngrams", "trim_at_stop", "words"]

# Where a rollout stops being an answer, whatever the prompt template (the paper's released code).
GENERIC_STOP_STRINGS = ("\n\n\n\n", "\n\n--", "\n\n____")

_WORD = re.compile(r"\w+|[^\w\s]+")


def words(text: str) -> list[str]:
    r"""The words of `text`, in order. Runs of punctuation are words; case is kept.

    >>> words("It's 4.5, no?")
    ['It', "'", 's', '4', '.', '5', ',', 'no', '?']
    """
    return _WORD.findall(text)


def ngrams(tokens: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    """The len(tokens) - n + 1 runs of `n` neighbouring tokens, in order; none when there are fewer than `n`.

    >>> list(ngrams(["a", "b", "c"], 2))
    [('a', 'b'), ('b', 'c')]
    """
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def trim_at_stop(text: str, stop_strings: Iterable[str]) -> str:
    r"""`text` up to the first place where any stop string begins, stripped of white space at both ends.

    >>> trim_at_stop(" Paris.\n\n\n\nQ: and Rome?", GENERIC_STOP_STRINGS)
    'Paris.'
    """
    found = [place for stop in stop_strings if (place := text.find(stop)) >= 0]
    return text[: min(found, default=len(text))].strip()
