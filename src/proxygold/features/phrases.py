"""How many of a text's words are on a list of words and phrases."""

from __future__ import annotations

import re

from proxygold.text import ngrams

__all__ = ["PhraseList", "english_words"]

_WORD = re.compile(r"[^\W\d_]++(?:['’][^\W\d_]++)*+")


def english_words(text: str) -> list[str]:
    """The runs of letters of a text, with what an apostrophe joins: neither numbers nor punctuation.

    >>> english_words("It’s 4 o'clock, no?")
    ["It's", "o'clock", 'no']
    """
    return _WORD.findall(text.replace("’", "'"))


class PhraseList:
    """Words, and phrases of several words: in small letters, parted by commas.

    None of the words may be in a phrase of the same list, or it would count twice.
    """

    def __init__(self, entries: str) -> None:
        by_size: dict[int, set[tuple[str, ...]]] = {}
        for entry in entries.split(","):
            words = tuple(entry.split())
            by_size.setdefault(len(words), set()).add(words)
        self._words = {word for (word,) in by_size.pop(1, set())}
        self._phrases = by_size

    def share(self, text: str) -> float:
        """Matches / words of the text; 0 for a text without words. A phrase is one match. Letter case is ignored, but
        for `May`, which is a month or a question.

        >>> PhraseList("maybe, it depends").share("Maybe. It depends on you.")
        0.4
        """
        words = [word if word == "May" else word.lower() for word in english_words(text)]
        found = sum(map(self._words.__contains__, words))
        for size, phrases in self._phrases.items():
            found += sum(map(phrases.__contains__, ngrams(words, size)))
        return found / max(len(words), 1)
