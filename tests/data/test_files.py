"""Data files: every good row comes out, every bad one is listed with its line, and nothing else is an error."""

from __future__ import annotations

import gzip
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from proxygold.data.files import (
    RejectedRow,
    Row,
    column_names,
    count_rows,
    file_format,
    parse_rows,
    read_raw_rows,
    read_rows,
)
from proxygold.data.writing import open_writer, schema_for
from proxygold.errors import DataError, StoreError

ROWS = [{"prompt": "Où?", "n": 1}, {"prompt": "東京 😀\n", "n": 2}]


def jsonl(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet", "ROWS.JSONL"])
def test_rows_come_as_they_were_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        pack = {"gz": gzip.compress, "zst": zstandard.compress}.get(name.rpartition(".")[2], bytes)
        path.write_bytes(pack(jsonl(ROWS)))
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
        ("list.csv", b"[]", r"Allowed: \.jsonl"),
        ("list.json", b"[]", "is empty"),
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 10_000)[:-20], "cannot read"),
        ("plain.jsonl.gz", b'{"a": 1}\n', "cannot read"),
        ("cut.jsonl.zst", zstandard.compress(b'{"a": 1}\n' * 10_000)[:-5], "cannot read"),
        ("plain.jsonl.zst", b'{"a": 1}\n', "cannot read"),
        ("text.parquet", b"no parquet at all", "cannot read"),
    ],
)
def test_a_file_that_is_of_no_use(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(path))


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    schema = schema_for(tmp_path / "from.jsonl", ROWS)
    with open_writer(path, schema) as writer:
        writer.write(ROWS[:1])
        writer.write(ROWS[1:])
        assert not path.exists()
    assert [row.values for row in read_rows(path) if isinstance(row, Row)] == ROWS
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_equal_rows_give_equal_files(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b"):
        with open_writer(tmp_path / f"{name}.jsonl.{ending}") as writer:
            writer.write(ROWS)
    assert (tmp_path / f"a.jsonl.{ending}").read_bytes() == (tmp_path / f"b.jsonl.{ending}").read_bytes()


def test_frames_of_zstd_that_others_wrote_and_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(b"".join(zstandard.compress(jsonl([row])) for row in ROWS))  # a frame for each row
    assert [row.values for row in read_rows(path) if isinstance(row, Row)] == ROWS
    with open_writer(path) as writer:
        writer.write([{"text": "x" * 700_000}] * 4)  # more than one of our frames
    theirs = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
    assert theirs == (json.dumps({"text": "x" * 700_000}) + "\n").encode() * 4


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.parquet"])
@pytest.mark.parametrize("after", [0, 1, 4, 5, 9, 10])
def test_reading_goes_on_after_any_row(tmp_path: Path, name: str, after: int) -> None:
    rows: list[dict[str, object]] = [{"n": number} for number in range(10)]
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name, row_group_size=4)
    else:
        with open_writer(tmp_path / name) as writer:
            writer.write(rows)
    raws = list(read_raw_rows(tmp_path / name, after, size=3))
    assert [row for raw in raws for row in parse_rows(raw)] == [Row(n + 1, {"n": n}) for n in range(after, 10)]
    assert all(len(raw) <= 3 for raw in raws)


def test_long_rows_are_read_few_at_a_time(tmp_path: Path) -> None:
    # Ten rows of 8 MB: two are 16 MB, which is where a piece is closed.
    rows: list[dict[str, object]] = [{"text": str(n) * 8_500_000} for n in range(10)]
    (tmp_path / "rows.jsonl").write_bytes(jsonl(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet", compression="none", use_dictionary=False)
    for name in ("rows.jsonl", "rows.parquet"):
        raws = list(read_raw_rows(tmp_path / name, size=1000))
        assert [len(raw) for raw in raws] == [2, 2, 2, 2, 2]
        assert [raw.first for raw in raws] == [1, 3, 5, 7, 9]
        assert len(pickle.dumps(raws[0])) < 18_000_000  # and it takes no more than itself along


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet"])
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


@pytest.mark.parametrize("huge", [2**63, -(2**63) - 1, 10**400, [{"x": [1, 2**70]}]])
def test_parquet_says_where_a_whole_number_is_too_large(tmp_path: Path, huge: object) -> None:
    rows = [{"a": 1, "b": None}, {"a": 1, "b": huge}]
    message = (
        r"the field 'b' at line 7 of the data holds a whole number beyond 64 bits.*\.jsonl instead, or make .* text"
    )
    with pytest.raises(DataError, match=rf"in\.jsonl: {message}"):
        schema_for(tmp_path / "in.jsonl", rows, [5, 7])
    schema = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.struct([("x", pa.list_(pa.int64()))])))])
    schema = schema if isinstance(huge, list) else pa.schema([("a", pa.int64()), ("b", pa.float64())])
    with (
        pytest.raises(DataError, match=rf"out\.parquet: {message}"),
        open_writer(tmp_path / "out.parquet", schema) as writer,
    ):
        writer.write(rows, [5, 7])
    assert not list(tmp_path.iterdir())


def test_whole_numbers_of_64_bits_fit_into_parquet(tmp_path: Path) -> None:
    rows = [{"a": 2**63 - 1}, {"a": -(2**63)}]
    with open_writer(tmp_path / "out.parquet", schema_for(tmp_path / "in.jsonl", rows)) as writer:
        writer.write(rows)
    assert [row.values for row in read_rows(tmp_path / "out.parquet") if isinstance(row, Row)] == rows


def test_parquet_says_that_it_has_no_empty_objects(tmp_path: Path) -> None:
    schema = schema_for(tmp_path / "in.jsonl", [{"meta": {}}])
    with (
        pytest.raises(DataError, match=r"cannot write .*'meta'.* Write \.jsonl"),
        open_writer(tmp_path / "out.parquet", schema),
    ):
        pass


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
    with pytest.raises(DataError, match=r"Allowed: \.jsonl, "):
        file_format(Path("a.csv"))


def test_a_json_array_is_read_and_not_written(tmp_path: Path) -> None:
    rows: list[Any] = [{"a": 1}, "text", {"a": "é"}]
    for name, compress in (("x.json", bytes), ("x.json.gz", gzip.compress)):
        path = tmp_path / name
        path.write_bytes(compress(json.dumps(rows, indent=1).encode()))
        found = list(read_rows(path))
        assert [(row.line, getattr(row, "values", None)) for row in found] == [
            (1, {"a": 1}),
            (2, None),
            (3, {"a": "é"}),
        ]
        assert str(found[1]) == f"{path}:2: a JSON string, not an object of fields"
        assert count_rows(path) == 3
        assert [row.first for row in read_raw_rows(path, after=1, size=1)] == [2, 3]
    with pytest.raises(DataError, match=r"a JSON array \(\.json\) is read, but not written"):
        file_format(Path("a.json"))
    (tmp_path / "x.json").write_text('[{"a": 1}, {"a"')
    with pytest.raises(
        DataError, match=r"cannot read .*x\.json: it is not JSON at character 16: .* one array of objects"
    ):
        list(read_rows(tmp_path / "x.json"))
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b'[{"a": 1}]' * 9)[:20])
    with pytest.raises(DataError, match=r"cannot read .*x\.json\.gz: Compressed file ended"):
        list(read_rows(tmp_path / "x.json.gz"))
