"""Calls from many threads, scored in few batches."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from proxygold import Example, reward
from proxygold.errors import RewardError
from proxygold.integrations.batching import Batcher, QueueFullError, ScoredRow
from proxygold.records import Scored

LINE = "branch(open_ended = LI * RP, closed_ended = RP / LI)"


def examples(count: int, offset: int = 0) -> list[Example]:
    """Of every kind: both arms, no query type, and an empty completion whose arm divides by zero."""
    kinds = ("open_ended", "closed_ended", None)
    return [
        Example(prompt=f"p{n}", completion="a b a b c " * (n % 5), query_type=kinds[n % 3])
        for n in range(offset, offset + count)
    ]


class Gate:
    """A reward whose batches wait to be let through, so that a test decides what meets in a queue."""

    def __init__(self, line: str = LINE) -> None:
        self.reward = reward(line)
        self.started = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.sizes: list[int] = []

    def score(self, batch: Sequence[Example]) -> Scored:
        self.sizes.append(len(batch))
        self.started.release()
        assert self.open.acquire(timeout=30)
        return self.reward.score(batch)

    def let_through(self, batches: int = 1_000) -> None:
        self.open.release(batches)


def in_threads(calls: Sequence[Callable[[], list[ScoredRow]]]) -> list[list[ScoredRow]]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(call) for call in calls]]


def assert_equal(rows: Sequence[ScoredRow], scored: Scored) -> None:
    """Exactly, to the last bit."""
    np.testing.assert_array_equal([row.total for row in rows], scored.total)
    assert [row.reason for row in rows] == list(scored.reasons)
    for part, values in scored.parts.items():
        np.testing.assert_array_equal([row.parts[part] for row in rows], values)


def test_rows_come_back_in_order_and_equal_direct_scores() -> None:
    made = reward(LINE)
    wanted = examples(40)
    with Batcher(made.score) as batcher:
        assert_equal(batcher.score(wanted), made.score(wanted))
        assert batcher.score([]) == []
    row = Batcher(made.score).score(examples(3))[2]
    assert math.isnan(row.total)
    assert row.reason == "branch: the example has no query_type"


def test_calls_that_meet_are_scored_together_and_get_their_own() -> None:
    gate = Gate()
    batches: list[tuple[int, int]] = []
    with Batcher(gate.score, on_batch=lambda calls, rows, seconds: batches.append((calls, rows))) as batcher:
        first = batcher.submit(examples(2))
        assert gate.started.acquire(timeout=30)
        wanted = [examples(n % 3 + 1, offset=n) for n in range(12)]
        futures = [batcher.submit(each) for each in wanted]
        assert batcher.waiting == 24  # 12 calls of 1, 2, 3, 1, 2, 3, ... examples
        gate.let_through()
        for future, each in zip([first, *futures], [examples(2), *wanted], strict=True):
            assert_equal(future.result(timeout=30), gate.reward.score(each))
        assert batcher.waiting == 0
    assert gate.sizes == [2, 24]
    assert batches == [(1, 2), (12, 24)]


def test_32_threads_share_batches() -> None:
    made = reward("LI * RP")
    sizes: list[int] = []

    def slow(batch: Sequence[Example]) -> Scored:
        sizes.append(len(batch))
        time.sleep(0.02)  # as long as a small encoder takes
        return made.score(batch)

    with Batcher(slow) as batcher:
        asked = [examples(1, offset=n) for n in range(32)]
        for _ in range(4):
            rows = in_threads([lambda each=each: batcher.score(each) for each in asked])  # type: ignore[misc]
    assert [row.total for [row] in rows] == [made.score(each).total[0] for each in asked]
    assert sum(sizes) == 128
    assert len(sizes) <= 32


def test_a_call_is_never_split_and_a_batch_holds_at_most_max_batch() -> None:
    gate = Gate()
    with Batcher(gate.score, max_batch=5) as batcher:
        futures = [batcher.submit(examples(1))]
        assert gate.started.acquire(timeout=30)
        futures += [batcher.submit(examples(n)) for n in (2, 3, 1, 9, 4, 2)]
        gate.let_through()
        assert [len(future.result(timeout=30)) for future in futures] == [1, 2, 3, 1, 9, 4, 2]
    # 2 + 3 is 5; 1 + 9 would be 10, and 4 + 2 would be 6.
    assert gate.sizes == [1, 5, 1, 9, 4, 2]


def test_who_is_alone_does_not_wait() -> None:
    with Batcher(reward("LI").score, max_wait_ms=60_000) as batcher:
        before = time.monotonic()
        for _ in range(5):
            batcher.score(examples(1))
        assert time.monotonic() - before < 30


def test_a_batch_waits_for_those_who_were_just_answered() -> None:
    made = reward("LI")
    sizes: list[int] = []

    def slow(batch: Sequence[Example]) -> Scored:
        sizes.append(len(batch))
        time.sleep(0.05)
        return made.score(batch)

    def ask_six_times() -> list[ScoredRow]:
        return [row for _ in range(6) for row in batcher.score(examples(1))]

    with Batcher(slow, max_wait_ms=2_000) as batcher:
        in_threads([ask_six_times] * 2)
    # While one is scored the other queues; without waiting for the first to come back they would take turns for ever:
    # twelve batches of one.
    assert sum(sizes) == 12
    assert sizes.count(2) >= 5


def test_a_call_that_cannot_be_scored_fails_alone() -> None:
    gate = Gate(LINE)
    gate.reward = reward(LINE, on_error="raise")
    good = Example(prompt="p", completion="a b", query_type="open_ended")
    bad = Example(prompt="p", completion="a b")
    with Batcher(gate.score) as batcher:
        futures = [batcher.submit([good])]
        assert gate.started.acquire(timeout=30)
        futures += [batcher.submit(each) for each in ([good], [good, bad], [good, good])]
        gate.let_through()
        assert [len(futures[n].result(timeout=30)) for n in (0, 1, 3)] == [1, 1, 2]
        with pytest.raises(RewardError, match="1 of 2 examples cannot be scored"):
            futures[2].result(timeout=30)
        # And the worker goes on.
        assert batcher.score([good])[0].total == 0.02
    assert gate.sizes == [1, 5, 1, 2, 2, 1]


def test_a_reward_that_exits_ends_no_waiting_for_ever() -> None:
    def leave(batch: Sequence[Example]) -> Scored:
        raise SystemExit(3)

    with Batcher(leave) as batcher, pytest.raises(SystemExit):
        batcher.score(examples(1))


def test_a_full_queue_refuses_and_is_well_again() -> None:
    gate = Gate("LI")
    with Batcher(gate.score, max_queue=3) as batcher:
        futures = [batcher.submit(examples(9))]  # nothing waits before it: taken, however long
        assert gate.started.acquire(timeout=30)
        futures += [batcher.submit(examples(1)), batcher.submit(examples(2))]
        with pytest.raises(QueueFullError) as caught:
            batcher.submit(examples(1))
        assert str(caught.value) == (
            "3 examples wait to be scored, and at most 3 may: 1 more are refused. "
            "Try again in a moment, or ask from fewer places at once."
        )
        gate.let_through()
        assert [len(future.result(timeout=30)) for future in futures] == [9, 1, 2]
        assert len(batcher.score(examples(2))) == 2


def test_what_was_cancelled_is_not_scored() -> None:
    gate = Gate("LI")
    with Batcher(gate.score) as batcher:
        first = batcher.submit(examples(1))
        assert gate.started.acquire(timeout=30)
        dropped, kept = batcher.submit(examples(2)), batcher.submit(examples(3))
        assert dropped.cancel()
        gate.let_through()
        assert (len(first.result(timeout=30)), len(kept.result(timeout=30))) == (1, 3)
        with pytest.raises(CancelledError):
            dropped.result(timeout=30)
    assert gate.sizes == [1, 3]


def test_closing_answers_what_was_taken_and_takes_no_more() -> None:
    gate = Gate("LI")
    batcher = Batcher(gate.score)
    futures = [batcher.submit(examples(1))]
    assert gate.started.acquire(timeout=30)
    futures += [batcher.submit(examples(2))]
    batcher.close(timeout=0.01)
    assert [future.done() for future in futures] == [False, False]
    gate.let_through()
    batcher.close()
    assert [future.done() for future in futures] == [True, True]
    with pytest.raises(RewardError, match="this batcher is closed"):
        batcher.score(examples(1))
    batcher.close()  # twice is once


def test_coroutines() -> None:
    made = reward(LINE)

    async def ask(batcher: Batcher) -> list[list[ScoredRow]]:
        return await asyncio.gather(*(batcher.score_async(examples(2, offset=n)) for n in range(20)))

    with Batcher(made.score) as batcher:
        for n, rows in enumerate(asyncio.run(ask(batcher))):
            assert_equal(rows, made.score(examples(2, offset=n)))


def test_a_pickled_batcher_begins_afresh_with_its_settings() -> None:
    batcher = Batcher(reward(LINE).score, max_batch=7, max_wait_ms=3.0, max_queue=11)
    batcher.score(examples(1))
    batcher.close()
    again = pickle.loads(pickle.dumps(batcher))
    assert (again.max_batch, again.max_wait_ms, again.max_queue) == (7, 3.0, 11)
    assert_equal(again.score(examples(9)), reward(LINE).score(examples(9)))
    again.close()


@pytest.mark.parametrize(
    "settings", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_ms": -1}, {"max_wait_ms": math.nan}]
)
def test_settings_that_cannot_be(settings: dict[str, float]) -> None:
    with pytest.raises(RewardError, match="cannot be. Give at least 1 for max_batch and max_queue, and 0 or more"):
        Batcher(reward("LI").score, **settings)  # type: ignore[arg-type]


FORKS = """
import os, sys, threading, time
from proxygold import Example, reward
from proxygold.integrations.batching import Batcher

made = reward("QR", encoder="all-minilm-l6-v2")
batcher = Batcher(made.score)
asked = [Example(prompt="Where is Oslo?", completion=f"In Norway, {n} times.") for n in range(4)]
wanted = [row.total for row in batcher.score(asked)]

def keep_busy():
    while True:
        batcher.score([Example(prompt="x", completion=f"{time.monotonic()} " * 20)])

for _ in range(2):
    threading.Thread(target=keep_busy, daemon=True).start()
time.sleep(0.2)
for _ in range(2):  # each in the middle of a batch, with a call in the queue
    child = os.fork()
    if child == 0:
        os._exit(0 if [row.total for row in batcher.score(asked)] == wanted else 1)
    deadline = time.monotonic() + 60
    done, status = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < deadline:
        time.sleep(0.02)
        done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        os.kill(child, 9)
        sys.exit("the forked process hangs")
    if status:
        sys.exit(f"the forked process failed: {status}")
    assert [row.total for row in batcher.score(asked)] == wanted
print("well")
os._exit(0)
"""


def test_a_fork_in_the_middle_of_a_batch_leaves_both_processes_well() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


def test_a_process_ends_though_its_batcher_was_never_closed() -> None:
    code = (
        "from proxygold import Example, reward\n"
        "from proxygold.integrations.batching import Batcher\n"
        "print(Batcher(reward('LI').score).score([Example(prompt='a', completion='b c')])[0].total)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.02\n", "")


def test_examples_submitted_each_alone_share_a_batch_and_fail_alone() -> None:
    made = reward(LINE, on_error="raise")
    sizes: list[int] = []

    def counted(batch: Sequence[Example]) -> Scored:
        sizes.append(len(batch))
        return made.score(batch)

    good = Example(prompt="p", completion="a b", query_type="open_ended")
    with Batcher(counted) as batcher:
        futures = batcher.submit_each([good, Example(prompt="p", completion="a b"), good])
        assert [future.exception(timeout=30) is None for future in futures] == [True, False, True]
        assert futures[2].result()[0].total == 0.02
        assert batcher.submit_each([]) == []
    assert sizes == [3, 1, 1, 1]
