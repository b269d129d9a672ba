"""The same answers scored again: twice, in another order, one by one, from eight threads."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from proxygold.records import FloatArray
from proxygold.rewards.checks.comparing import agreement
from proxygold.rewards.checks.finding import Outcome
from proxygold.rewards.checks.subject import Subject
from proxygold.rewards.embeddings import forget_embeddings

__all__ = ["alone", "any_order", "eight_threads", "twice"]

_THREADS = 8
_BATCH = 4
_ROUNDS, _ROUNDS_SECONDS = 20, 1.0


def twice(subject: Subject) -> Outcome:
    """Scored again, with nothing remembered, an answer gets the same score."""
    rows = subject.few(len(subject.examples))
    forget_embeddings()
    return agreement(
        subject.scored.total[rows],
        subject.reward.score(subject.rows(rows)).total,
        subject.rows(rows),
        ("first", "then"),
        "Draw nothing at random, and remember nothing of earlier answers: the score must depend on the example alone.",
    )


def any_order(subject: Subject) -> Outcome:
    """An answer's score does not depend on where in the batch it stands."""
    rows = subject.few(len(subject.examples))
    order = np.random.default_rng(0).permutation(len(rows))
    total = np.empty(len(rows))
    total[order] = subject.reward.score([subject.examples[rows[place]] for place in order]).total
    return agreement(
        subject.scored.total[rows],
        total,
        subject.rows(rows),
        ("in order", "in another order"),
        "Use neither the place of an example nor what came before it.",
    )


def alone(subject: Subject) -> Outcome:
    """An answer's score does not depend on what else is in the batch."""
    rows = subject.few(24)
    forget_embeddings()
    total = np.concatenate([subject.reward.score([subject.examples[row]]).total for row in rows])
    return agreement(
        subject.scored.total[rows],
        total,
        subject.rows(rows),
        ("in a batch", "alone"),
        "Compare with fixed numbers, not with the other examples: trainers batch as it suits them.",
    )


def eight_threads(subject: Subject) -> Outcome:
    """Eight threads that score at once get what one alone gets."""
    rows = subject.few(48, repeats=_THREADS)
    batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]

    def work(thread: int) -> FloatArray:
        """All batches, each thread beginning with another."""
        found = np.empty(len(subject.examples))
        for batch in (*batches[thread % len(batches) :], *batches[: thread % len(batches)]):
            found[batch] = subject.reward.score(subject.rows(batch)).total
        return found[rows]

    serial = work(0)
    forget_embeddings()
    begun = time.perf_counter()
    with _restless_threads(), ThreadPoolExecutor(_THREADS) as pool:
        # A race that is seldom lost takes several goes to show.
        for _ in range(_ROUNDS):
            outcome = agreement(
                np.tile(serial, _THREADS),
                np.concatenate(list(pool.map(work, range(_THREADS)))),
                subject.rows(rows) * _THREADS,
                ("alone", "beside other threads"),
                "Keep what a call works on in its own variables, not in globals; or write the feature as a class: its "
                "calls never overlap.",
            )
            if outcome.status != "ok" or time.perf_counter() - begun > _ROUNDS_SECONDS:
                break
    return outcome


@contextmanager
def _restless_threads() -> Iterator[None]:
    """Let Python change threads as often as it can, so that a race has a chance to show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
