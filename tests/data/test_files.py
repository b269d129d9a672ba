"""Data files: every good row comes out, every bad one is listed with its line, and nothing else is an error."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold.data.files import RejectedRow, Row, column_names, count_rows, file_format, read_rows
from proxygold.data.writing import open_writer, schema_for
from proxygold.errors import DataError, StoreError

ROWS = [{"prompt": "Où?", "n": 1}, {"prompt": "東京 😀\n", "n": 2}]


def jsonl(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet", "ROWS.JSONL"])
def test_rows_come_as_they_were_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_bytes(gzip.compress(jsonl(ROWS)) if name.endswith("gz") else jsonl(ROWS))
    assert list(read_rows(path)) == [Row(1, ROWS[0]), Row(2, ROWS[1])]
    assert count_rows(path) == 2
    assert column_names(path) == (["prompt", "n"] if name.endswith("parquet") else None)


def test_bad_lines_are_listed_and_good_ones_still_come(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"a": 1}\n'  # a byte-order mark, as editors on Windows write it
        b'{"a": 2,}\n'
        b"\n"
        b'{"a": "\xff"}\n'
        b"[1, 2]\n"
        b'"text"\n'
        b"null\n" + b"[" * 100_000 + b"\n"
        b'{"a": "\\ud83d"}\n'
        b'{"a": "\\ud83d\\ude00"}\n'
        b'{"a": ' + b"9" * 5000 + b"}\n"
        b'{"a": 3}'  # no newline at the end
    )
    rows = list(read_rows(path))
    assert [(row.line, row.values) for row in rows if isinstance(row, Row)] == [
        (1, {"a": 1}),
        (10, {"a": "😀"}),
        (12, {"a": 3}),
    ]
    rejected = {row.line: row.reason for row in rows if isinstance(row, RejectedRow)}
    assert list(rejected) == [2, 4, 5, 6, 7, 8, 9, 11]
    assert "not JSON" in rejected[2]
    assert "column" in rejected[2]
    assert "not UTF-8 at byte 7" in rejected[4]
    assert "a JSON list" in rejected[5]
    assert "a JSON string" in rejected[6]
    assert "a JSON null" in rejected[7]
    assert "surrogate" in rejected[9]
    assert str(rows[1]).startswith(f"{path}:2: not JSON")
    assert count_rows(path) == 12


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"empty\.jsonl is empty"):
        list(read_rows(path))


def test_a_parquet_file_without_rows_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), path)
    with pytest.raises(DataError, match="is empty"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.jsonl", None, "there is no file"),
        ("gone.parquet", None, "there is no file"),
        ("list.json", b"[]", r"Allowed: \.jsonl"),
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 10_000)[:-20], "cannot read"),
        ("plain.jsonl.gz", b'{"a": 1}\n', "cannot read"),
        ("text.parquet", b"no parquet at all", "cannot read"),
    ],
)
def test_a_file_that_is_of_no_use(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(path))


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    schema = schema_for(tmp_path / "from.jsonl", ROWS)
    with open_writer(path, schema) as writer:
        writer.write(ROWS[:1])
        writer.write(ROWS[1:])
        assert not path.exists()
    assert [row.values for row in read_rows(path) if isinstance(row, Row)] == ROWS
    assert list(path.parent.iterdir()) == [path]


def test_equal_rows_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        with open_writer(tmp_path / name) as writer:
            writer.write(ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_an_error_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("mine")
    with pytest.raises(ZeroDivisionError), open_writer(path, schema_for(tmp_path / "x.jsonl", ROWS)) as writer:
        writer.write(ROWS)
        raise ZeroDivisionError
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"), open_writer(tmp_path / "file" / "out.jsonl"):
        pass


def test_not_a_number_is_null_in_json(tmp_path: Path) -> None:
    with open_writer(tmp_path / "out.jsonl") as writer:
        writer.write([{"x": float("nan"), "y": [float("inf"), 1.5]}])
    assert (tmp_path / "out.jsonl").read_text() == '{"x": null, "y": [null, 1.5]}\n'


def test_parquet_says_when_rows_do_not_fit_one_schema(tmp_path: Path) -> None:
    source = tmp_path / "from.jsonl"
    with pytest.raises(DataError, match=r"different types(.|\n)*Write \.jsonl"):
        schema_for(source, [{"a": 1}, {"a": "text"}])
    schema = schema_for(source, [{"a": None}, {"b": 1.0}])  # a is null so far: taken for text
    with open_writer(tmp_path / "out.parquet", schema) as writer:
        writer.write([{"a": "text", "b": 2.0}, {}])
        with pytest.raises(DataError, match="field 'c' is in some rows"):
            writer.write([{"a": "text", "c": 2.0}])
        with pytest.raises(DataError, match="different types"):
            writer.write([{"a": ["list"], "b": 2.0}])


def test_json_says_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Write \.parquet"), open_writer(tmp_path / "out.jsonl") as writer:
        writer.write([{"a": b"bytes"}])


def test_a_long_file_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    line = json.dumps({"prompt": "x" * 1000}).encode() + b"\n"
    path.write_bytes(line * 20_000)  # 20 MB
    tracemalloc.start()
    with open_writer(tmp_path / "out.jsonl") as writer:
        for row in read_rows(path):
            assert isinstance(row, Row)
            writer.write([row.values])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_formats_by_name() -> None:
    assert file_format(Path("a.b.jsonl.gz")) == "jsonl.gz"
    assert file_format(Path("a.parquet")) == "parquet"
    with pytest.raises(DataError, match="JSON list"):
        file_format(Path("a.json"))
