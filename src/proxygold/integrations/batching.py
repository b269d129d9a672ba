"""One batch out of many calls: what lets a reward be asked for one completion at a time and still be quick.

Trainers such as verl and OpenRLHF call a reward from many threads, and a server is asked by many clients, each with a
completion or two. Calls that come while a batch is being scored wait together and are scored together, by one thread.

    batcher = Batcher(reward.score)
    [row] = batcher.score([example])            # from any thread
    rows = await batcher.score_async(examples)  # from a coroutine
    row.total, row.parts["LI"], row.reason

A call gets exactly what `reward.score` gives for its examples alone: a value does not depend on its neighbours.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from proxygold.errors import RewardError
from proxygold.records import Example, Scored

__all__ = ["Batcher", "QueueFullError", "ScoredRow"]

# How long a fork waits for the batch that is being scored.
_FORK_PATIENCE = 60.0

# How long the end of the process does: nobody waits for what is then still being scored.
_EXIT_PATIENCE = 5.0


class QueueFullError(RewardError):
    """More examples are waiting than the queue holds: slow down, and try again."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """The score of one example: `total` is NaN where there is none, and then `reason` says why."""

    total: float
    parts: Mapping[str, float]
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Call:
    examples: Sequence[Example]
    future: Future[list[ScoredRow]] = field(default_factory=Future)


class Batcher:
    """Scores the examples of many calls in few batches. Safe for threads; survives a fork; pickles without its queue.

    - `score`: n examples to their scores, such as `reward.score`.
    - `max_batch`: examples scored together. A call is never split: a longer one is a batch of its own.
    - `max_wait_ms`: the longest that a batch waits to be joined. It waits only for as many calls as were under way
      when the batch before it ended, so that a caller who is alone never waits.
    - `max_queue`: examples that may wait. A call beyond that is refused, unless nothing waits before it.
    - `on_batch`: told of each batch, as calls, examples and seconds, before it is answered. It must not raise.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Example]], Scored],
        *,
        max_batch: int = 512,
        max_wait_ms: float = 2.0,
        max_queue: int = 65_536,
        on_batch: Callable[[int, int, float], None] | None = None,
    ) -> None:
        if max_batch < 1 or max_queue < 1 or not 0 <= max_wait_ms < float("inf"):
            raise RewardError(
                f"max_batch={max_batch}, max_queue={max_queue}, max_wait_ms={max_wait_ms} cannot be. Give at least 1 "
                "for max_batch and max_queue, and 0 or more for max_wait_ms."
            )
        self.max_batch = max_batch
        self.max_wait_ms = max_wait_ms
        self.max_queue = max_queue
        self._score = score
        self._on_batch = on_batch
        self._closed = False
        self._start_afresh()
        with _registry:
            _batchers.add(self)

    def _start_afresh(self) -> None:
        """An empty queue without a worker: how it begins, also in a process that was forked from this one."""
        self._changed = threading.Condition()
        self._scoring = threading.RLock()  # held for a batch; the scoring thread itself may fork
        self._calls: deque[_Call] = deque()
        self._waiting = 0
        self._worker: threading.Thread | None = None

    # --- for callers --------------------------------------------------------------------------------------

    def submit(self, examples: Iterable[Example]) -> Future[list[ScoredRow]]:
        """The rows of n examples, in their order, when they have been scored. Cancelled, it is not scored if it waits.

        Raises QueueFullError when too many examples wait, RewardError after `close`. The future carries whatever the
        score of these examples alone raises. A future does not outlive a fork: in the new process, ask again.
        """
        call = _Call(list(examples))
        if call.examples:
            self._take([call])
        else:
            call.future.set_result([])
        return call.future

    def submit_each(self, examples: Iterable[Example]) -> list[Future[list[ScoredRow]]]:
        """The one row of each of n examples, each as a call of its own: one that cannot be scored fails alone.

        They are taken together or not at all. Raises as `submit` does.
        """
        calls = [_Call([example]) for example in examples]
        if calls:
            self._take(calls)
        return [call.future for call in calls]

    def _take(self, calls: Sequence[_Call]) -> None:
        count = sum(len(call.examples) for call in calls)
        with self._changed:
            if self._closed:
                raise RewardError("this batcher is closed: nothing can be scored any more.")
            if self._waiting and self._waiting + count > self.max_queue:
                raise QueueFullError(
                    f"{self._waiting} examples wait to be scored, and at most {self.max_queue} may: "
                    f"{count} more are refused. Try again in a moment, or ask from fewer places at once."
                )
            self._calls.extend(calls)
            self._waiting += count
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="proxygold-batcher", daemon=True)
                self._worker.start()
            self._changed.notify_all()

    def score(self, examples: Iterable[Example]) -> list[ScoredRow]:
        """The rows of n examples. Waits for them, and raises as `submit` and the score itself do."""
        future = self.submit(examples)
        try:
            return future.result()
        except BaseException:  # Ctrl-C while waiting, too
            future.cancel()
            raise

    async def score_async(self, examples: Iterable[Example]) -> list[ScoredRow]:
        """`score` for a coroutine. Cancelled, the examples are not scored if they still wait."""
        return await asyncio.wrap_future(self.submit(examples))

    @property
    def waiting(self) -> int:
        """How many examples wait to be scored."""
        return self._waiting

    def close(self, timeout: float | None = None) -> None:
        """Take no more calls, and return when those that were taken are answered, or after `timeout` seconds."""
        with self._changed:
            self._closed = True
            worker = self._worker
            self._changed.notify_all()
        if worker is not None and worker is not threading.current_thread():
            worker.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._score, self.max_batch, self.max_wait_ms, self.max_queue, self._on_batch)

    # --- the worker ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        expected = 1
        while batch := self._next_batch(expected):
            with self._scoring:
                self._answer(batch)
            # Who has just been answered is likely to ask again at once.
            expected = len(batch) + len(self._calls)

    def _next_batch(self, expected: int) -> list[_Call]:
        """The calls to score together; none when the batcher is closed and all are answered."""
        with self._changed:
            while not self._calls and not self._closed:
                self._changed.wait()
            deadline = time.monotonic() + self.max_wait_ms / 1000
            while (
                len(self._calls) < expected
                and self._waiting < self.max_batch
                and not self._closed
                and (left := deadline - time.monotonic()) > 0
            ):
                self._changed.wait(left)
            batch: list[_Call] = []
            examples = 0
            while self._calls and (not batch or examples + len(self._calls[0].examples) <= self.max_batch):
                batch.append(self._calls.popleft())
                examples += len(batch[-1].examples)
            self._waiting -= examples
            return batch

    def _answer(self, batch: Sequence[_Call]) -> None:
        live = [call for call in batch if call.future.set_running_or_notify_cancel()]
        if not live:
            return
        started = time.monotonic()
        try:
            rows = _rows(self._score([example for call in live for example in call.examples]))
        except BaseException as error:  # noqa: BLE001  (nobody may wait for ever, whatever the score raises)
            if len(live) == 1:
                self._report(live, started)
                live[0].future.set_exception(error)
                return
            # One call that cannot be scored must not take its neighbours down.
            for call in live:
                self._score_alone(call)
            return
        self._report(live, started)
        place = 0
        for call in live:
            call.future.set_result(rows[place : place + len(call.examples)])
            place += len(call.examples)

    def _score_alone(self, call: _Call) -> None:
        started = time.monotonic()
        try:
            rows = _rows(self._score(call.examples))
        except BaseException as error:  # noqa: BLE001  (as above)
            self._report([call], started)
            call.future.set_exception(error)
            return
        self._report([call], started)
        call.future.set_result(rows)

    def _report(self, calls: Sequence[_Call], started: float) -> None:
        if self._on_batch is not None:
            self._on_batch(len(calls), sum(len(call.examples) for call in calls), time.monotonic() - started)


def _rows(scored: Scored) -> list[ScoredRow]:
    names, columns = list(scored.parts), [part.tolist() for part in scored.parts.values()]
    by_row = zip(*columns, strict=True) if columns else ((),) * len(scored.reasons)
    return [
        ScoredRow(total, dict(zip(names, values, strict=True)), reason)
        for total, values, reason in zip(scored.total.tolist(), by_row, scored.reasons, strict=True)
    ]


def _restore(
    score: Callable[[Sequence[Example]], Scored],
    max_batch: int,
    max_wait_ms: float,
    max_queue: int,
    on_batch: Callable[[int, int, float], None] | None,
) -> Batcher:
    return Batcher(score, max_batch=max_batch, max_wait_ms=max_wait_ms, max_queue=max_queue, on_batch=on_batch)


# --- forks and the end of the process ----------------------------------------------------------------------------

_batchers: weakref.WeakSet[Batcher] = weakref.WeakSet()
_registry = threading.Lock()
_held: list[threading.RLock] = []


def _before_fork() -> None:
    _registry.acquire()
    # A fork in the middle of a batch would leave the encoder locked for ever in the new process.
    _held.extend(lock for lock in [each._scoring for each in _batchers] if lock.acquire(timeout=_FORK_PATIENCE))


def _after_fork_here() -> None:
    while _held:
        _held.pop().release()
    _registry.release()


def _after_fork_there() -> None:
    _held.clear()
    for batcher in _batchers:
        batcher._start_afresh()
    _registry.release()


def _close_all() -> None:
    with _registry:
        batchers = list(_batchers)
    for batcher in batchers:
        batcher.close(_EXIT_PATIENCE)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_here, after_in_child=_after_fork_there)
atexit.register(_close_all)
