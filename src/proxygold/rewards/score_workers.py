"""Scoring in several processes on one machine: each has the reward, with its encoder, for itself.

This process reads and writes, and hands each idle worker the next chunk. Results are put back in order; chunks that
wait for one before them are counted, so that memory stays constant. Workers are processes that were started anew
(spawned), as a GPU cannot be used in a forked one; they end when this process does, however it does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from proxygold.data.sources import Chunk, Position, Source, UnusableSource, read_chunks
from proxygold.errors import ConfigError, RewardError
from proxygold.rewards.runtime import Reward
from proxygold.rewards.score_chunk import ChunkScorer, ScoredChunk
from proxygold.rewards.score_engine import Scoring, given_or_raised, tried, uses_models

__all__ = ["Workers"]

# Chunks read and not yet written, for each worker: enough that none waits for a slow one.
_WINDOW = 4
# Seconds that a worker gets to end by itself.
_PATIENCE = 5


class Workers:
    """Scores in `count` processes. Raises ConfigError for less than one."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ConfigError(f"{count} workers are not allowed; give 1 or more.")
        self._count = count

    @contextmanager
    def start(self, reward: Reward) -> Iterator[Scoring]:
        """Raises what loading the reward raises, as it would here."""
        with ExitStack() as running:
            workers = []
            for number in range(self._count):
                worker = _Worker(reward, _environment(number, self._count, reward))
                running.callback(worker.end)
                workers.append(worker)
            ids = [given_or_raised(worker.receive()) for worker in workers]
            yield _Pool(workers, ids[0])


class _Pool:
    def __init__(self, workers: Sequence[_Worker], reward_id: str) -> None:
        self._workers = workers
        self._reward_id = reward_id

    @property
    def reward_id(self) -> str:
        return self._reward_id

    def results(
        self, scorer: ChunkScorer, sources: Sequence[Source], start: Position, rows: int
    ) -> Iterator[ScoredChunk]:
        for worker in self._workers:
            worker.send(scorer)
        chunks = _Chunks(read_chunks(sources, start, rows))
        idle: list[_Worker] = list(self._workers)
        busy: dict[_Worker, int] = {}
        done: dict[int, Any] = {}
        given = 0
        while True:
            while idle and chunks.taken - given < _WINDOW * len(self._workers) and (chunk := chunks.take()) is not None:
                worker = idle.pop()
                worker.send(chunk)
                busy[worker] = chunks.taken - 1
            if given in done:
                yield given_or_raised(done.pop(given))
                given += 1
            elif busy:
                for worker in _ready(list(busy)):
                    done[busy.pop(worker)] = worker.receive()
                    idle.append(worker)
            else:
                chunks.raise_failure()
                return


class _Chunks:
    """Chunks one by one; that a source cannot be read is told when it is asked for."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self.taken = 0
        self._chunks = chunks
        self._failure: UnusableSource | None = None

    def take(self) -> Chunk | None:
        """The next chunk, None when there is none."""
        if self._failure is not None:
            return None
        try:
            chunk = next(self._chunks, None)
        except UnusableSource as error:
            self._failure = error
            return None
        self.taken += chunk is not None
        return chunk

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


# --- one worker, seen from here ---------------------------------------------------------------------------------------


class _Worker:
    def __init__(self, reward: Reward, environment: Mapping[str, str]) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, reward), name="proxygold score")
        with _in_environment(environment), _ctrl_c_later():
            self._process.start()
        theirs.close()  # so that the end of the process is the end of the connection

    def send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError as error:
            raise self._lost() from error

    def receive(self) -> Any:
        """What it sends next; an exception of its own comes as a value."""
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def end(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _lost(self) -> RewardError:
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name}), most often for want of memory"
        else:
            how = f"ended by itself (exit code {code})"
        return RewardError(
            f"a worker {how}. What is done is kept: run the same command again, "
            "with fewer --workers if memory is short."
        )


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until some of the workers have something to say."""
    ready = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def _environment(number: int, count: int, reward: Reward) -> dict[str, str]:
    """The variables of a worker: its share of the cores and of the GPUs, unless the user has said."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    shared = {name: threads for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS") if name not in os.environ}
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    devices = found if given is None else given.split(",")
    if len(devices) > 1 and uses_models(reward):
        shared["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return shared


@contextmanager
def _in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """A process started within it has these variables from its first moment, before any library reads them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """A process started within it never sees Ctrl-C, which this one answers for both, a moment later if need be."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- one worker, from within ------------------------------------------------------------------------------------------


def _work(connection: Connection, reward: Reward) -> None:
    """The life of a worker: say by what it scores, take the scorer, then a chunk for a scored one, to the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):  # the end of the process that started it
        connection.send(tried(lambda: reward.reward_id))
        scorer: ChunkScorer = connection.recv()
        while True:
            chunk = connection.recv()
            connection.send(tried(partial(scorer.score, chunk, reward)))
