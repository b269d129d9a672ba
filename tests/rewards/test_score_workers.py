"""Scoring in several processes: the same bytes as in one, constant memory, and what becomes of errors and deaths."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from proxygold import reward
from proxygold.data.files import RawRows
from proxygold.errors import ConfigError, DataError, ModelError, RewardError
from proxygold.rewards import score_file as module
from proxygold.rewards.score_file import score_file
from proxygold.rewards.score_workers import Workers, _environment

PLUGIN = """
import os, signal
from proxygold import feature

@feature("odd_feature")
def odd_feature(example):
    if example.completion == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if example.completion == "leave":
        os._exit(3)
    return float(os.environ["OMP_NUM_THREADS"])
"""


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Say {n % 7}", "completion": "a word " * (n % 50) + str(n), "n": n} for n in range(count)]


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 20)
    source = write(tmp_path / "in.jsonl", [*rows(130), {"n": 130}, *rows(9)])
    line = reward("LI * RP")
    one = score_file(source, tmp_path / "one.jsonl", line)
    told: list[int] = []
    two = score_file(source, tmp_path / "two.jsonl", line, engine=Workers(2), advance=told.append)
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert two.rejected_file.read_bytes() == one.rejected_file.read_bytes()
    assert (two.scored, two.rejected, sum(told)) == (139, 1, 140)
    # What two processes began, one goes on with: it is the same reward, by the same encoder.
    with pytest.raises(KeyboardInterrupt):
        score_file(source, tmp_path / "three.jsonl", line, engine=Workers(2), advance=_stop)
    assert score_file(source, tmp_path / "three.jsonl", line).resumed == 20
    assert (tmp_path / "three.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


@pytest.mark.slow
def test_with_an_encoder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 10)
    source = write(tmp_path / "in.jsonl", rows(40))
    for name, engine in (("one", None), ("two", Workers(2))):
        score_file(source, tmp_path / f"{name}.jsonl", reward("LI * RP * QR"), engine=engine)
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def _stop(rows: int) -> None:
    if rows:
        raise KeyboardInterrupt


class Counted:
    """A source that counts the rows that were read of it."""

    name = key = "counted"

    def __init__(self, count: int) -> None:
        self.count_ = count
        self.read_ = 0

    def read(self, after: int, size: int) -> Iterator[RawRows]:
        for start in range(after, self.count_, size):
            content = [json.dumps(row).encode() for row in rows(self.count_)[start : start + size]]
            self.read_ += len(content)
            yield RawRows(self.name, start + 1, content)

    def schema(self) -> pa.Schema | None:
        return None

    def count(self) -> int:
        return self.count_

    def fingerprint(self) -> str:
        return ""

    def bytes_to_count(self) -> int:
        return 0


def test_reading_does_not_run_ahead_of_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 5)
    source = Counted(400)
    ahead: list[int] = []
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        ahead.append(source.read_ - 5 - done)  # its first 5 rows are read once more, to see what they are

    score_file([source], tmp_path / "out.jsonl", reward("LI"), engine=Workers(2), advance=advance)
    assert done == 400
    # Two workers, four chunks of five rows each: no more than 40 rows are on their way, of 400.
    assert 5 <= max(ahead) <= 40


def test_an_error_comes_back_as_itself_and_in_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 4)
    write(tmp_path / "a.jsonl", rows(8))
    bad = [{**row, "query_type": None if row["n"] == 5 else "open_ended"} for row in rows(8)]
    write(tmp_path / "b.jsonl", bad)
    write(tmp_path / "a.jsonl", [{**row, "query_type": "open_ended"} for row in rows(8)])
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    strict = reward("branch(open_ended = LI, closed_ended = RP)", on_error="raise")
    with pytest.raises(DataError, match=r"b\.jsonl:6 cannot be scored(.|\n)*files before it is kept"):
        score_file(files, tmp_path / "out.jsonl", strict, engine=Workers(2))
    assert len((tmp_path / "out.jsonl.partial" / "rows").read_text().splitlines()) == 8
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "b.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"cannot read .*b\.parquet"):
        score_file([files[0], tmp_path / "b.parquet"], tmp_path / "two.jsonl", strict, engine=Workers(2))


@pytest.mark.slow
def test_an_encoder_that_is_not_there_is_told_as_by_one_process(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(2))
    with pytest.raises(ModelError, match="is not a directory"):
        score_file(source, tmp_path / "out.jsonl", reward("QR", encoder="./nothing"), engine=Workers(1))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    path = tmp_path / "odd.py"
    path.write_text(PLUGIN)
    return reward("odd_feature", plugins=[path])


def test_a_worker_that_dies_is_told_and_the_run_goes_on(
    tmp_path: Path, odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    source = tmp_path / "in.jsonl"
    good = {"prompt": "x", "completion": "good"}
    write(source, [good] * 60 + [{"prompt": "x", "completion": "die!!"}] * 2)
    kept = source.stat()
    text = source.read_text()
    source.write_text(text.replace('"die!!"', '"die"  '))  # of the same length and age, so that it can be mended
    os.utime(source, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    message = r"a worker was killed by signal 9 \(SIGKILL\), most often for want of memory\. .*fewer --workers"
    with pytest.raises(RewardError, match=message):
        score_file(source, tmp_path / "out.jsonl", odd, engine=Workers(2))
    source.write_text(text)
    os.utime(source, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    summary = score_file(source, tmp_path / "out.jsonl", odd, engine=Workers(2))
    assert summary.resumed >= 40  # all but what was on its way
    # Each worker had its share of the cores.
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    scores = [json.loads(line)["reward"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert scores == [share] * 62


def test_a_worker_that_leaves_is_told(tmp_path: Path, odd: Any) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "x", "completion": "leave"}])
    with pytest.raises(RewardError, match=r"a worker ended by itself \(exit code 3\)"):
        score_file(source, tmp_path / "out.jsonl", odd, engine=Workers(1))


def test_each_worker_has_a_gpu_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    devices = [_environment(n, 3, reward("QR")).get("CUDA_VISIBLE_DEVICES") for n in range(3)]
    assert devices == ["4", "6", "4"]
    assert "CUDA_VISIBLE_DEVICES" not in _environment(0, 3, reward("LI * RP"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    assert "CUDA_VISIBLE_DEVICES" not in _environment(0, 3, reward("QR"))


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 workers are not allowed; give 1 or more"):
        Workers(0)
