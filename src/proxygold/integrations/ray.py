"""Scoring on Ray Data: the same files, scores and order as on one machine, by a pool of actors.

Sources are read where Ray runs, one task for each, so every node must see the files under the same path (a shared file
system; or `hub:NAME`) and have proxygold installed. Results come back here, where they are written. The cluster is the
one that `RAY_ADDRESS` names, the one that this process is connected to already, or a local one for this run alone.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from proxygold.data.sources import FileSource, Position, Source, UnusableSource, read_chunks
from proxygold.errors import ConfigError, ModelError
from proxygold.rewards.runtime import Reward
from proxygold.rewards.score_chunk import ChunkScorer, ScoredChunk
from proxygold.rewards.score_engine import Scoring, given_or_raised, tried, uses_models

__all__ = ["RayEngine"]

# Seconds until a cluster has to answer.
_PATIENCE = 10


class RayEngine:
    """Scores in `workers` actors; None is as many as the cluster has CPUs for, or GPUs if the reward has models.

    Raises ConfigError for less than one.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"{workers} workers are not allowed; give 1 or more.")
        self._workers = workers

    @contextmanager
    def start(self, reward: Reward) -> Iterator[Scoring]:
        """Raises ConfigError when `RAY_ADDRESS` cannot be reached."""
        import ray

        ours = not ray.is_initialized()
        if ours:
            _connect(self._workers)
        try:
            yield _Cluster(reward, self._workers)
        finally:
            if ours:
                ray.shutdown()


class _Cluster:
    def __init__(self, reward: Reward, workers: int | None) -> None:
        self._reward = reward
        self._workers = workers

    @property
    def reward_id(self) -> str:
        return self._reward.reward_id

    def results(
        self, scorer: ChunkScorer, sources: Sequence[Source], start: Position, rows: int
    ) -> Iterator[ScoredChunk]:
        import ray.data

        actors, gpus = self._resources()
        absolute = [_absolute(source) for source in sources]
        places = [{"number": n, "after": start[1] if n == start[0] else 0} for n in range(start[0], len(sources))]
        with ray.data.DataContext.current(_settings()):
            chunks = (
                ray.data.from_items(places, override_num_blocks=len(places))
                # Not as many CPUs as the actors need: what needs the same, Ray makes one step of, and one actor would
                # score all of a file.
                .map_batches(partial(_read, sources=absolute, rows=rows), batch_size=1, num_cpus=0.5)
                .map_batches(
                    _Actor,
                    fn_constructor_args=(self._reward, self.reward_id, scorer),
                    batch_size=1,
                    compute=ray.data.ActorPoolStrategy(size=actors),
                    num_cpus=1,
                    num_gpus=gpus,
                )
            )
            for row in chunks.iter_rows():
                yield given_or_raised(pickle.loads(row["result"]))

    def _resources(self) -> tuple[int, float]:
        """How many actors, and the share of a GPU that each gets."""
        import ray

        total = ray.cluster_resources()
        gpus = total.get("GPU", 0.0) if uses_models(self._reward) else 0.0
        # One CPU is left for reading.
        actors = self._workers or max(1, int(gpus or total.get("CPU", 1) - 1))
        return actors, min(1.0, gpus / actors)


class _Actor:
    """Scores chunks. An error goes back as a result: where Ray raises it, its type would be lost."""

    def __init__(self, reward: Reward, reward_id: str, scorer: ChunkScorer) -> None:
        self._reward = reward
        self._scorer = scorer
        self._reward_id = reward_id
        self._ready = False

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"result": _cell(tried(partial(self._score, pickle.loads(batch["chunk"][0]))))}

    def _score(self, chunk: Any) -> ScoredChunk:
        if not self._ready and self._reward.reward_id != self._reward_id:
            raise ModelError(
                f"the reward {self._reward} is another one on a node of the cluster: its encoder, a model, a feature "
                "or the version of proxygold differs there. Install the same on every node."
            )
        self._ready = True
        return self._scorer.score(given_or_raised(chunk), self._reward)


def _read(batch: Mapping[str, Any], sources: Sequence[Source], rows: int) -> Iterator[dict[str, Any]]:
    """The chunks of one source; that it cannot be read comes last, as if it were a chunk."""
    number, after = int(batch["number"][0]), int(batch["after"][0])
    try:
        for chunk in read_chunks(sources[: number + 1], (number, after), rows):
            yield {"chunk": _cell(chunk)}
    except UnusableSource as error:
        yield {"chunk": _cell(error)}


def _cell(value: object) -> Any:
    """A column of one row."""
    return np.array([pickle.dumps(value)], dtype=object)


def _absolute(source: Source) -> Source:
    """A source as another process finds it, under the name that it has here."""
    return replace(source, path=source.path.absolute()) if isinstance(source, FileSource) else source


def _settings() -> Any:
    import ray.data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a copy reads what is deprecated too
        settings = ray.data.DataContext.get_current().copy()
    settings.execution_options.preserve_order = True
    settings.enable_progress_bars = False
    settings.print_on_execution_start = False
    # Each chunk by itself, so that the actors share what one file holds.
    settings.target_max_block_size = 1
    settings.target_min_block_size = 1
    return settings


def _connect(workers: int | None) -> None:
    import ray
    import ray.data  # its import sets its level

    address = os.environ.get("RAY_ADDRESS")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        if address:
            _check_reachable(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        # One more than the actors, for reading: with less than they need, Ray waits for ever.
        cpus = (workers or len(os.sched_getaffinity(0))) + 1
        with _silenced():
            ray.init("local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"the Ray cluster at RAY_ADDRESS={address}" if address else "a local Ray"
        raise ConfigError(
            f"{where} cannot be used: {error}\nCheck that it runs, or unset RAY_ADDRESS to use this machine."
        ) from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Nothing goes to standard error: Ray's core tells its log level there, whatever the level is."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_reachable(address: str) -> None:
    """Raise OSError when nobody listens at HOST:PORT, for which Ray itself would wait for minutes."""
    place = re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address)
    if place is not None:
        socket.create_connection((place[1], int(place[2])), timeout=_PATIENCE).close()
