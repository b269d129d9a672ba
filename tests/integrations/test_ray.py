"""Ray Data: on a local Ray with two workers, the same bytes as one process writes. One session serves all."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxygold import reward
from proxygold.errors import ConfigError, DataError
from proxygold.integrations.ray import RayEngine
from proxygold.rewards import score_file as module
from proxygold.rewards.score_file import score_file

PLUGIN = """
import os
from proxygold import feature

@feature("ray_process")
def ray_process(example):
    return float(os.getpid())
"""


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    """A Ray that is there already: the engine uses it, and leaves it running."""
    import logging

    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    assert ray.is_initialized()
    ray.shutdown()


def rows(first: int, last: int) -> list[dict[str, Any]]:
    return [{"prompt": "x", "completion": "a word " * (n % 9) + str(n), "n": n} for n in range(first, last)]


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


# Before the session begins.
def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    (tmp_path / "in.jsonl").write_bytes(lines(*rows(0, 2)))
    with pytest.raises(ConfigError, match=r"the Ray cluster at RAY_ADDRESS=127\.0\.0\.1:1 cannot be used"):
        score_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl", reward("LI"), engine=RayEngine(2))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.slow
@pytest.mark.usefixtures("session")
def test_ray_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 10)
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.jsonl").write_bytes(lines(*rows(0, 95), {"prompt": "no completion"}))
    (data / "b.jsonl").touch()
    (data / "c.jsonl.gz").write_bytes(gzip.compress(lines(*rows(96, 120))))

    one = score_file("data", tmp_path / "one.jsonl", reward("LI * RP"))
    two = score_file("data", tmp_path / "two.jsonl", reward("LI * RP"), engine=RayEngine(2))
    assert two.written.read_bytes() == one.written.read_bytes()
    assert two.rejected_file.read_bytes() == one.rejected_file.read_bytes()  # under the name that it has here
    assert (two.scored, two.rejected) == (119, 1)

    # What was begun here goes on there. And both actors took part, in the chunks of one file.
    (tmp_path / "plugin.py").write_text(PLUGIN)
    process = reward("ray_process", plugins=[tmp_path / "plugin.py"])

    def stop(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_file("data/a.jsonl", tmp_path / "three.jsonl", process, advance=stop)
    assert score_file("data/a.jsonl", tmp_path / "three.jsonl", process, engine=RayEngine(2)).resumed == 10
    scored = [json.loads(line) for line in (tmp_path / "three.jsonl").read_text().splitlines()]
    assert [row["n"] for row in scored] == list(range(95))
    processes = [row["reward"] for row in scored]
    assert set(processes[:10]) == {os.getpid()}
    assert len(set(processes[10:])) == 2
    assert os.getpid() not in processes[10:]

    # Errors come as they are here, and what was before them is kept.
    (data / "c.jsonl.gz").write_bytes(gzip.compress(lines(*rows(96, 120)))[:-30])
    with pytest.raises(DataError, match=r"cannot read .*c\.jsonl\.gz(.|\n)*files before it is kept"):
        score_file("data", tmp_path / "four.jsonl", reward("LI"), engine=RayEngine(2))
    (data / "c.jsonl.gz").write_bytes(gzip.compress(lines(*rows(96, 120))))
    assert score_file("data", tmp_path / "four.jsonl", reward("LI")).resumed > 80


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 workers are not allowed"):
        RayEngine(0)
