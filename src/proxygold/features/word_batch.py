"""The words of many texts as numbers: how many each text has, and how many of its n-grams are distinct.

The features that count words do it for a whole batch here, in numpy: an order of magnitude faster than a list of
strings for each text, and equal to it, which tests hold. The texts are laid end to end as UTF-8; each byte is known as
white space, part of a word, or punctuation; a word begins where that changes. Equal words get equal numbers from
Arrow's dictionary, so that an n-gram is one integer, and distinct n-grams are counted by sorting. Nothing rests on
hashes that might collide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from proxygold.text import UNSPACED_SCRIPTS, WORDPUNCT, ngrams, split_words

__all__ = ["WordBatch"]

Counts = NDArray[np.int64]

# Characters that are worked on at a time: enough for numpy's calls not to count, few enough for the processor's cache.
_GROUP = 1 << 17

# Up to so many characters lists of strings are as fast, and Arrow is not loaded.
_LITTLE = 3_000

# As many neighbouring characters of a script without spaces are more than one word.
_CLAUSE = re.compile(f"[{UNSPACED_SCRIPTS}]{{16}}")

_SPACE, _WORD, _PUNCTUATION, _WIDE = range(4)
_LARGEST = 1 << 62
_ASCII = bytes(range(128))


class WordBatch:
    """The words of n texts, of one kind (see `proxygold.text.split_words`)."""

    def __init__(self, texts: Sequence[str], kind: str = "wordpunct") -> None:
        self._groups = [
            _Wordpunct(group) if kind == "wordpunct" and sum(map(len, group)) > _LITTLE else _Listed(group, kind)
            for group in _grouped(texts)
        ]

    @cached_property
    def counts(self) -> Counts:
        """How many words each text has: (n,) int64.

        >>> WordBatch(["It's late.", ""]).counts.tolist()
        [5, 0]
        """
        return np.concatenate([np.empty(0, np.int64), *(group.counts for group in self._groups)])

    @property
    def unspaced(self) -> bool:
        """Whether a text has a clause without spaces that was taken for one word, as in Chinese or Thai."""
        return any(group.unspaced for group in self._groups)

    def distinct_ngrams(self, n: int) -> Counts:
        """How many different runs of `n` neighbouring words each text has: (n,) int64.

        >>> WordBatch(["a b a b a", "a b"]).distinct_ngrams(2).tolist()
        [2, 1]
        """
        return np.concatenate([np.empty(0, np.int64), *(group.distinct_ngrams(n) for group in self._groups)])


def _grouped(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size = 0
    for end, text in enumerate(texts, 1):
        size += len(text)
        if size >= _GROUP or end == len(texts):
            yield texts[start:end]
            start, size = end, 0


class _Listed:
    """The words of any kind, as lists of strings."""

    def __init__(self, texts: Sequence[str], kind: str) -> None:
        self._lists = [split_words(text, kind) for text in texts]
        self.counts: Counts = np.array([len(words) for words in self._lists], dtype=np.int64)
        self.unspaced = kind == "wordpunct" and any(map(_CLAUSE.search, texts))

    def distinct_ngrams(self, n: int) -> Counts:
        return np.array([len(set(ngrams(words, n))) for words in self._lists], dtype=np.int64)


class _Wordpunct:
    """The matches of `WORDPUNCT` in one or more texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        # A lone half of a surrogate pair is no valid UTF-8, and no reason to fail.
        pieces = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._data = b"\n".join(pieces)
        wide = "" if self._data.isascii() else self._data.translate(None, _ASCII).decode("utf-8", "surrogatepass")
        # The characters alone are soon looked through; what ASCII stood between them is looked at only if need be.
        self.unspaced = bool(_CLAUSE.search(wide)) and any(map(_CLAUSE.search, texts))
        self._kinds = _kinds(self._data, wide)
        # Where a run of bytes of one kind begins; the runs that are not white space are the words.
        bounds = np.flatnonzero(self._kinds[1:] != self._kinds[:-1]) + 1
        runs = np.concatenate(([0], bounds)) if len(self._data) else bounds
        solid = np.flatnonzero(self._kinds[runs])
        self._lengths = np.diff(runs, append=len(self._data))[solid]
        ends = np.cumsum([len(piece) + 1 for piece in pieces])  # and the line break that parts two texts
        self.counts: Counts = np.diff(np.searchsorted(runs[solid], ends), prepend=0).astype(np.int64)

    def distinct_ngrams(self, n: int) -> Counts:
        return _distinct(*self._numbered, self.counts, n)

    @cached_property
    def _numbered(self) -> tuple[Counts, int]:
        """A number for each word, equal for equal words, and how many different words there are."""
        import pyarrow as pa

        offsets = np.concatenate(([0], np.cumsum(self._lengths)))
        letters = np.frombuffer(self._data, np.uint8)[self._kinds != _SPACE]
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(letters)]
        encoded = pa.Array.from_buffers(pa.large_binary(), len(self._lengths), buffers).dictionary_encode()
        return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def _kinds(data: bytes, wide: str) -> NDArray[np.uint8]:
    """The kind of character that each byte of a UTF-8 text belongs to; `wide` has its characters beyond ASCII."""
    kinds = np.frombuffer(data.translate(_ascii_kinds()), np.uint8)
    if not wide:
        return kinds
    points = np.frombuffer(wide.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = kinds.copy()
    kinds[kinds == _WIDE] = np.repeat(_unicode_kinds()[points], 2 + (points >= 0x800) + (points >= 0x10000))
    return kinds


@cache
def _unicode_kinds() -> NDArray[np.uint8]:
    """The kind of every code point, as Python's `re` sees it: its Unicode tables are not numpy's or Arrow's."""
    every = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    kinds = np.full(len(every), _SPACE, np.uint8)
    for found in WORDPUNCT.finditer(every):
        is_word = found.group()[0].isalnum() or found.group()[0] == "_"
        kinds[found.start() : found.end()] = _WORD if is_word else _PUNCTUATION
    return kinds


@cache
def _ascii_kinds() -> bytes:
    """A table for `bytes.translate`."""
    return _unicode_kinds()[:128].tobytes() + bytes([_WIDE]) * 128


def _distinct(ids: Counts, vocabulary: int, counts: Counts, n: int) -> Counts:
    """How many different n-grams each row of `counts` words has, exactly."""
    rows = np.repeat(np.arange(len(counts)), counts)
    windows = max(len(ids) - n + 1, 0)
    within = rows[:windows] == rows[len(ids) - windows :]
    keys, span = ids[:windows], vocabulary
    for place in range(1, n):
        keys, span = _appended(keys, span, ids[place : place + windows], vocabulary)
    # The row goes first, so that it can be read off a key.
    (keys, span), rows = _shortened(keys[within], span, len(counts)), rows[:windows][within]
    keys = rows * span + keys
    keys.sort()
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return np.bincount(keys[first] // span, minlength=len(counts)).astype(np.int64)


def _appended(keys: Counts, span: int, ids: Counts, vocabulary: int) -> tuple[Counts, int]:
    keys, span = _shortened(keys, span, vocabulary)
    return keys * vocabulary + ids, span * vocabulary


def _shortened(keys: Counts, span: int, factor: int) -> tuple[Counts, int]:
    """Keys below `span` whose product with `factor` still fits 64 bits: as they are, or numbered anew."""
    if span * factor < _LARGEST:
        return keys, span
    known, numbered = np.unique(keys, return_inverse=True)
    return numbered.astype(np.int64), max(len(known), 1)
