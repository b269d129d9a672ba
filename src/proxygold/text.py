"""Words, n-grams, sentences and stop trimming: pure functions, and the only text cleaning there is.

A word is a match of `\\w+|[^\\w\\s]+`, NLTK's wordpunct, as in the paper's released code: punctuation
counts as words. Two other notions of a word can be asked for by name, see `split_words`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from proxygold.errors import RewardError

__all__ = [
    "GENERIC_STOP_STRINGS",
    "UNSPACED_SCRIPTS",
    "WORD_KINDS",
    "WORDPUNCT",
    "ngrams",
    "readable",
    "sentences",
    "split_words",
    "trim_at_stop",
    "unicode_words",
    "words",
]

# Where a rollout stops being an answer, whatever the prompt template (the paper's released code).
GENERIC_STOP_STRINGS = ("\n\n\n\n", "\n\n--", "\n\n____")

WORDPUNCT = re.compile(r"\w+|[^\w\s]+")

# The code points of scripts that put no space between words, as ranges of a character class: Thai, Lao, Burmese,
# Khmer, kana, Han. To wordpunct a clause of them is one word, and to Python's \w Thai vowel signs are punctuation.
UNSPACED_SCRIPTS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)


def words(text: str) -> list[str]:
    r"""The words of `text`, in order. Runs of punctuation are words; case is kept.

    >>> words("It's 4.5, no?")
    ['It', "'", 's', '4', '.', '5', ',', 'no', '?']
    """
    return WORDPUNCT.findall(text)


def unicode_words(text: str) -> list[str]:
    """The words of `text` as ICU finds them: Unicode's rules (UAX #29), and dictionaries where words are not spaced.

    The dictionaries are for Chinese and Japanese, Thai, Lao, Khmer and Burmese. White space is left out. Each
    punctuation mark and each emoji is a word; so are `4.5` and `It's`. Which words a dictionary has can change
    with the version of ICU (icu4py 1.2 brings ICU 78).

    Raises RewardError when icu4py is not installed.
    """
    try:
        from icu4py.breakers import WordBreaker
    except ImportError as error:
        raise RewardError(
            f"words='unicode' needs {error.name}, which is not installed. Run: pip install 'proxygold[features]'"
        ) from error

    if not text.isascii():
        # ICU takes no half of a surrogate pair; the mark for an unreadable character stands for it.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    # "und" is ICU's own rules, without those of the machine's language. Zero-width space parts words as a space does.
    return [piece for piece in WordBreaker(text, "und") if not piece.isspace() and piece != "\u200b"]


WORD_KINDS: Mapping[str, Callable[[str], list[str]]] = {
    "wordpunct": words,
    "whitespace": str.split,
    "unicode": unicode_words,
}


def split_words(text: str, kind: str = "wordpunct") -> list[str]:
    """The words of `text`: by `words` above, by white space, or by Unicode's rules (`unicode_words`).

    >>> split_words("It's 4.5, no?", "whitespace")
    ["It's", '4.5,', 'no?']
    """
    return WORD_KINDS[kind](text)


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
    end = len(text)
    for stop in stop_strings:
        place = text.find(stop)
        if 0 <= place < end:
            end = place
    return text[:end].strip()


# --- sentences --------------------------------------------------------------------------------------------------------

# What may end a sentence: marks with the quotes and brackets that close behind them, before a space or the end; marks
# of scripts without spaces, anywhere; a line break. The first looks back, and none gives back what it took, so that
# the time is linear in the text whatever it holds.
_END = re.compile(
    r"""(?<![.!?…؟।])[.!?…؟।]++["'”’»)\]*_`]*+(?=\s|$) | [。！？｡．]++["'”’」』）】》]*+ | [\n\r\u2028\u2029]++""",
    re.VERBOSE,
)
_NEXT = re.compile(r"\s*+(\S?)")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘*_]*\Z")

# What a full stop after them does not end. The longest bounds how far to look back.
_ABBREVIATIONS = """
mr mrs ms mx dr prof rev hon gen col capt lt sgt st mt ft vs v cf approx dept e.g i.e nos vol fig figs eq sec ch pp p
eds jan feb mar apr jun jul aug sep sept oct nov dec
"""
# These may well be the last word of a sentence: only a small letter or a digit goes on after them.
_MAY_END = "etc a.m p.m u.s u.k u.n ph.d m.d b.a m.a d.c inc ltd co corp jr sr al no ed est"
_ABBREVIATION_SET, _MAY_END_SET = frozenset(_ABBREVIATIONS.split()), frozenset(_MAY_END.split())
_LONGEST = 12


def sentences(text: str) -> list[str]:
    r"""The sentences of `text`, stripped, in order. Rules, not a model:

    - A line break ends a sentence: completions are not wrapped, and a heading or an item of a list is one.
    - So does `.`, `!`, `?` or `…` (or several, with closing quotes and brackets) before white space, unless the next
      word begins with a small letter. So `4.5` and `e-mail.com` end none, and `Wait... what?` is one sentence.
    - A full stop ends none after a known abbreviation (`Dr.`, `e.g.`), after a single capital letter (`J. R. Smith`),
      or after the number that begins an item (`1. Fill the pan.`).
    - `。！？` end a sentence anywhere.
    - What has neither letter nor digit (`---`, an emoji) is no sentence.

    >>> sentences("Dr. Low paid 4.5 dollars... or so. Why?\n1. Ask him.\n---\n行きます。はい！")
    ['Dr. Low paid 4.5 dollars... or so.', 'Why?', '1. Ask him.', '行きます。', 'はい！']
    """
    pieces = []
    start = 0
    for found in _END.finditer(text):
        if not _goes_on(text, start, found):
            pieces.append(text[start : found.end()])
            start = found.end()
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if _has_letter_or_digit(piece)]


def _goes_on(text: str, start: int, found: re.Match[str]) -> bool:
    """Whether what looks like the end of a sentence that began at `start` is none."""
    mark = found.group()
    if mark[0] not in ".!?…":
        return False
    following = _NEXT.match(text, found.end())
    if following is None or not following[1] or "\n" in following[0]:
        return False
    if following[1].islower():
        return True
    if mark[0] != "." or mark.startswith(".."):
        return False
    before = text[max(start, found.start() - _LONGEST) : found.start()]
    last = _LAST_WORD.search(before)
    word = last.group() if last else ""
    if word.isdecimal() and text[start : found.start()].strip() == word:
        return True
    if len(word) == 1 and word.isupper() and word != "I":
        return True
    if word.lower() in _MAY_END_SET:
        return following[1].isdecimal()
    return word.lower() in _ABBREVIATION_SET


def _has_letter_or_digit(piece: str) -> bool:
    return any(map(str.isalnum, piece))


def readable(text: str) -> str:
    r"""`text` with U+FFFD for each half of a surrogate pair that stands alone: no tokenizer takes those.

    >>> readable("caf\udce9") == "caf\ufffd"
    True
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return text
