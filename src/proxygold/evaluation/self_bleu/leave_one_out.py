"""BLEU of each of some answers against all the others, exactly and fast.

The plain way counts the n-grams of every answer again for each answer that it is a reference of: 10 answers, 100
counts. Here each is counted once. BLEU clips how often an answer has an n-gram at the most that any of its references
has it; so nothing is clipped but for the one answer that alone has it most often, and there at the second largest
count. For each n-gram the two largest counts and the owner of the largest are all that is needed.

Equal to nltk's `sentence_bleu(others, answer, weights=[1 / order] * order, smoothing_function=method1)` but for the
rounding of the last bits; nothing rests on hashes that might collide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from proxygold.records import FloatArray

__all__ = ["EPSILON", "leave_one_out_bleu"]

Words = Sequence[str]
Counts = NDArray[np.int64]

# What a count of 0 matches becomes: smoothing method 1 of Chen and Cherry (2014), with nltk's value.
EPSILON = 0.1

# Words that are worked on at a time: enough for numpy's calls not to count, few enough for the processor's cache.
_GROUP = 1 << 15
_LARGEST = 1 << 62


def leave_one_out_bleu(prompts: Iterable[Sequence[Words]], order: int = 4) -> Iterator[FloatArray]:
    """The BLEU of each answer to a prompt against the other answers to it, an array (answers,) float64 a prompt.

    `prompts`: the words of each answer to each prompt. n-grams up to `order` count alike. An answer without a word that
    any other has gets 0, and so does an empty one, as in nltk. An answer that is the only one to its prompt gets NaN.

    >>> [scores] = leave_one_out_bleu([["a b c d e".split(), "a b c d f".split(), "x y".split()]])
    >>> scores.round(3).tolist()
    [0.669, 0.669, 0.0]
    """
    group: list[Sequence[Words]] = []
    size = 0
    for answers in prompts:
        group.append(answers)
        size += sum(map(len, answers))
        if size >= _GROUP:
            yield from _scores(group, order)
            group, size = [], 0
    if group:
        yield from _scores(group, order)


def _scores(prompts: Sequence[Sequence[Words]], order: int) -> list[FloatArray]:
    per_prompt = np.array([len(answers) for answers in prompts], dtype=np.int64)
    answers = list(chain.from_iterable(prompts))
    lengths = np.array([len(words) for words in answers], dtype=np.int64)
    prompt_of = np.repeat(np.arange(len(prompts)), per_prompt)
    penalty = _brevity_penalty(lengths, prompt_of)
    log_precision = np.zeros(len(answers))
    for n, matches in enumerate(_matches(answers, lengths, prompt_of, order), start=1):
        if n == 1:
            penalty[matches == 0] = 0.0
        grams = np.maximum(lengths - n + 1, 1)
        log_precision += np.log(np.where(matches == 0, EPSILON, matches) / grams) / order
    scores = penalty * np.exp(log_precision)
    scores[(per_prompt == 1)[prompt_of]] = np.nan
    return np.split(scores, np.cumsum(per_prompt)[:-1])


def _matches(answers: Sequence[Words], lengths: Counts, prompt_of: Counts, order: int) -> Iterator[Counts]:
    """How many n-grams of each answer its references have too, clipped, for n from 1 to `order`: (answers,) each."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    ids = np.fromiter(map(numbers.__getitem__, chain.from_iterable(answers)), np.int64, int(lengths.sum()))
    answer_of = np.repeat(np.arange(len(answers)), lengths)
    grams, span = np.zeros(len(ids), np.int64), 1
    for n in range(1, order + 1):
        windows = max(len(ids) - n + 1, 0)
        if span * len(numbers) * len(answers) >= _LARGEST:
            known, grams = np.unique(grams, return_inverse=True)
            span = len(known)
        grams = grams[:windows] * len(numbers) + ids[n - 1 :]
        span *= len(numbers)
        # Not those that begin in one answer and end in the next.
        within = answer_of[:windows] == answer_of[n - 1 :]
        total = np.maximum(lengths - n + 1, 0)
        yield total - _clipped(grams[within], answer_of[:windows][within], prompt_of, len(answers))


def _clipped(grams: Counts, answer_of: Counts, prompt_of: Counts, answers: int) -> Counts:
    """How many n-grams each answer has more than any other answer to its prompt, which clipping takes away.

    `grams` and `answer_of`: the number of each n-gram, and of the answer it is in.
    """
    pairs = grams * answers + answer_of
    pairs.sort()
    starts = _starts(pairs[1:] != pairs[:-1], len(pairs))
    if not len(starts):
        return np.zeros(answers, np.int64)
    counts = np.diff(starts, append=len(pairs))
    gram, owner = np.divmod(pairs[starts], answers)
    # Of one n-gram, the answers to one prompt stand next to each other.
    prompt = prompt_of[owner]
    firsts = _starts((gram[1:] != gram[:-1]) | (prompt[1:] != prompt[:-1]), len(gram))
    sizes = np.diff(firsts, append=len(gram))
    is_top = counts == np.repeat(np.maximum.reduceat(counts, firsts), sizes)
    alone = is_top & (np.repeat(np.add.reduceat(is_top.astype(np.int64), firsts), sizes) == 1)
    second = np.repeat(np.maximum.reduceat(np.where(is_top, 0, counts), firsts), sizes)
    excess = np.bincount(owner[alone], weights=(counts - second)[alone], minlength=answers)
    return excess.astype(np.int64)


def _starts(changes: NDArray[np.bool_], size: int) -> Counts:
    """Where runs begin among `size` values, of which all but the first are told whether they differ from the last."""
    return np.flatnonzero(np.concatenate(([True], changes))) if size else np.empty(0, np.int64)


def _brevity_penalty(lengths: Counts, prompt_of: Counts) -> FloatArray:
    """exp(1 - r / h) for an answer of h words whose nearest reference has r > h, 1 for others, 0 for an empty one.

    Of two references equally near, the shorter one counts. Among the answers to a prompt sorted by length, the nearest
    is the one before or the one after.
    """
    order = np.lexsort((lengths, prompt_of))
    length, prompt = lengths[order].astype(np.float64), prompt_of[order]
    same = prompt[1:] == prompt[:-1]
    before = np.concatenate(([np.inf], np.where(same, length[1:] - length[:-1], np.inf)))[: len(length)]
    after = np.concatenate((np.where(same, length[1:] - length[:-1], np.inf), [np.inf]))[: len(length)]
    gap = np.where((after < before) & np.isfinite(after), after, 0.0)
    penalty = np.empty(len(length))
    penalty[order] = np.where(length == 0, 0.0, np.exp(-gap / np.maximum(length, 1)))
    return penalty
