"""The syllables of an English word, by rules: no dictionary, so that it works on any word and loads nothing."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["syllables"]

# Frequent words that the rules below get wrong.
_KNOWN = {
    **dict.fromkeys(("clothes", "tongue", "tongues"), 1),
    **dict.fromkeys(("business", "chocolate", "evening", "evenings", "genre", "genres", "people", "safety"), 2),
    **dict.fromkeys(("lion", "lions", "someone", "something", "sometimes", "therefore", "wednesday"), 2),
    **dict.fromkeys(("beautiful", "businesses", "everyone", "everything", "recipe", "recipes"), 3),
    **dict.fromkeys(("vegetable", "vegetables"), 3),
}
_NO_LETTER = re.compile(r"[^a-z]")
_VOWELS = re.compile(r"[aeiouy]+")

# Neighbouring vowels that are two syllables, and endings that have one without a vowel.
_SPLIT = re.compile(
    r"""(?<![ctgsxln])ia(?!n\b|ns\b|r|ge) | (?<![ctgsx])io(?!n) | iu(?!s) | sci(?=en) | (?<![ct])i(?=en[ct]) | [ct]iat
    | i(?:et|er\b|ers\b|est\b|ing) | (?<![qg])u(?:a(?!r)|ou) | [oue]ing | y(?:ing|er|a|o)
    | eo(?!u|n\b|p) | crea(?!m|k|s|tu) | react | reali | thea | (?:ar|id)ea | eity | oe[mt] | isms?\b | rithms?\b""",
    re.VERBOSE,
)
# An e that is not heard within a word: before an ending, or where two words meet.
_SILENT = re.compile(
    r"""[aeiouy][^aeiouyl]+e(?=ments?\Z) | [aeiouy][^aeiouy]*[^aeiouyl]e(?=(?:ly|ness|less|ful|fully|lessly)\Z)
    | [aeiouy]le(?=(?:ly|ness|less)\Z) | [aeiou][qg]ues?\Z
    | (?<=[aeiou])[bcdfghjkmnpqrstvwxz]e(?=(?:work|line|time|made|play|style|pan|holder)s?\Z)""",
    re.VERBOSE,
)
# And at the end: take, but not table or acre; asked, but not wanted; takes, but not pages.
_SILENT_END = re.compile(
    r"""(?<![aeiouy])(?<![^aeiouylr]l)e\Z | (?<![aeiouytd])(?<![^aeiouylr]l)ed\Z
    | (?<![aeiouysxzcg])(?<![cs]h)(?<![^aeiouylr]l)es\Z""",
    re.VERBOSE,
)
# Longer ones are no words, and not worth the time.
_LONGEST = 64


@lru_cache(maxsize=1 << 16)
def syllables(word: str) -> int:
    """How many syllables an English word has: 1 and more, and 0 for a text without a letter from a to z.

    Groups of vowels, less the silent ones, and more where two vowels are two syllables. Accents are ignored, but for é.

    >>> [syllables(word) for word in ("strength", "tables", "wanted", "likely", "area", "café", "Unquestionably")]
    [1, 2, 2, 2, 3, 2, 5]
    """
    letters = unicodedata.normalize("NFD", word[:_LONGEST].lower())
    # An e with an accent is heard wherever it stands.
    letters = _NO_LETTER.sub("", letters.replace("e\u0301", "ay"))
    if letters in _KNOWN:
        return _KNOWN[letters]
    if letters[:1] == "y" and _VOWELS.match(letters[1:2]):
        letters = letters[1:]  # the consonant of `you`
    found = len(_VOWELS.findall(letters)) + len(_SPLIT.findall(letters)) - len(_SILENT.findall(letters))
    found -= len(_SILENT_END.findall(letters))
    return max(found, 1) if letters else 0
