"""A file made over several runs: what survives whatever a crash leaves, and what the end leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold.data.partial import PartialFile, open_partial
from proxygold.data.writing import encode_rows
from proxygold.errors import StoreError

MANIFEST = {"of": "this"}


def fill(partial: PartialFile, *pieces: int) -> None:
    for n in pieces:
        partial.append(f'{{"n": {n}}}\n'.encode(), b'{"bad": 1}\n' if n == 1 else b"", {"n": n})


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file of which pieces 0, 1 and 2 are done."""
    path = tmp_path / "out.jsonl"
    with open_partial(path) as partial:
        assert partial.manifest is None
        partial.describe(MANIFEST)
        fill(partial, 0, 1, 2)
    return path


def damaged(target: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    path = target.with_name("out.jsonl.partial") / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "kept"),
    [
        ("rows", lambda content: content, [0, 1, 2]),
        ("rows", lambda content: content + b'{"n": 3', [0, 1, 2]),  # killed before the line of the journal
        ("rows", lambda content: content[:-1], [0, 1]),
        ("rows", lambda content: content.replace(b"1", b"9"), [0]),  # blocks that never reached the disk
        ("rejected.jsonl", lambda content: b"", [0]),
        ("journal.jsonl", lambda content: content[:-1], [0, 1]),  # killed within the line
        ("journal.jsonl", lambda content: content + b"{", [0, 1, 2]),
        ("journal.jsonl", lambda content: b"\xff" + content, []),
    ],
)
def test_what_is_whole_is_kept_and_the_file_is_the_same_in_the_end(
    target: Path, name: str, change: Callable[[bytes], bytes], kept: list[int]
) -> None:
    damaged(target, name, change)
    rejected = target.with_name("rejected.jsonl")
    with open_partial(target) as partial:
        assert partial.manifest == MANIFEST
        assert [record["n"] for record in partial.recover()] == kept
        fill(partial, *range(len(kept), 4))
        partial.publish(rejected, None)
    assert target.read_text() == '{"n": 0}\n{"n": 1}\n{"n": 2}\n{"n": 3}\n'
    assert rejected.read_text() == '{"bad": 1}\n'
    assert sorted(path.name for path in target.parent.iterdir()) == ["out.jsonl", "rejected.jsonl"]


def test_pieces_that_are_not_wanted_are_cut_off(target: Path) -> None:
    with open_partial(target) as partial:
        assert [record["n"] for record in partial.recover(lambda record: record["n"] < 1)] == [0]
    with open_partial(target) as partial:
        assert [record["n"] for record in partial.recover()] == [0]
        assert list(partial.recover(lambda record: False)) == []
    assert list(target.parent.iterdir()) == []  # nothing is done: no trace


def test_a_look_at_it_changes_nothing(target: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_partial(target):
        raise ZeroDivisionError
    with open_partial(target) as partial:
        assert len(list(partial.recover())) == 3


def test_an_old_list_of_rejected_rows_goes(tmp_path: Path) -> None:
    rejected = tmp_path / "rejected.jsonl"
    rejected.write_text("of an earlier run")
    with open_partial(tmp_path / "out.jsonl") as partial:
        partial.describe(MANIFEST)
        fill(partial, 0)
        partial.publish(rejected, None)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_parquet_is_made_of_its_pieces(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("parts", pa.map_(pa.string(), pa.float64()))])
    target = tmp_path / "out.parquet"
    rows = [{"n": n, "parts": {"LI": n / 2}} for n in range(5)]
    with open_partial(target) as partial:
        partial.describe(MANIFEST)
        for row in rows:
            partial.append(encode_rows(target, [row], [1], schema), b"", {})
        partial.publish(tmp_path / "rejected.jsonl", schema)
    assert pq.read_table(target).to_pylist(maps_as_pydicts="strict") == rows
    assert pq.ParquetFile(target).num_row_groups == 1  # small pieces are put together


def test_two_at_once_are_refused(target: Path) -> None:
    with (
        open_partial(target),
        pytest.raises(StoreError, match="is being made by another process"),
        open_partial(target),
    ):
        pass


def test_what_is_not_ours_is_not_touched(target: Path) -> None:
    (target.with_name("out.jsonl.partial") / "thesis.txt").write_text("mine")
    with (
        pytest.raises(StoreError, match=r"is kept for what is not finished, and has thesis\.txt"),
        open_partial(target),
    ):
        pass


def test_no_space_left_keeps_what_is_done(target: Path) -> None:
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with (
            pytest.raises(StoreError, match=r"cannot write .*out\.jsonl: File too large.*what is done is kept"),
            open_partial(target) as partial,
        ):
            assert len(list(partial.recover())) == 3
            partial.append(json.dumps({"n": "3" * 5000}).encode(), b"", {"n": 3})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with open_partial(target) as partial:
        assert [record["n"] for record in partial.recover()] == [0, 1, 2]
