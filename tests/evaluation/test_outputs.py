"""Answers that exist already, in every format that they come in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold.errors import DataError
from proxygold.evaluation.answers.outputs import completion_of, read_outputs

ROWS = [
    {"instruction": "Name a color.", "output": "Red.", "generator": "m"},
    {"instruction": "Name a tree.", "output": "An oak.", "generator": "m"},
]


def write(path: Path) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    match path.name.partition(".")[2]:
        case "json":
            path.write_text(json.dumps(ROWS, indent=1))
        case "json.gz":
            path.write_bytes(gzip.compress(json.dumps(ROWS).encode()))
        case "jsonl":
            path.write_text(lines)
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case "jsonl.zst":
            with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as file:
                file.write(lines.encode())
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("suffix", ["json", "json.gz", "jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    given = read_outputs(write(tmp_path / f"answers.{suffix}"), "mine")
    assert (given.name, list(given.rows), list(given.lines), list(given.rejected)) == ("mine", ROWS, [1, 2], [])
    assert given.by("instruction")["Name a tree."]["output"] == "An oak."
    assert given.about == {"outputs": str(given.path), "rows": 2, "rejected": 0}


def test_rows_that_cannot_be_used_are_listed_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": 1, "output": "x"}\n\nnot json\n{"id": 2, "output": null}\n{"id": 3, "output": "", "text": "y"}\n'
    )
    given = read_outputs(path)
    assert (given.name, len(given.rows), given.lines) == ("a.jsonl", 3, [1, 4, 5])
    assert [str(row) for row in given.rejected] == [f"{path}:3: not JSON: Expecting value at column 1"]
    (missing,) = given.without_answer()
    assert str(missing).startswith(f"{path}:4: no answer: none of output, completion, response, prediction, text")
    # An empty answer is an answer; the first field that is a text counts.
    assert [completion_of(row) for row in given.rows] == ["x", None, ""]


def test_answers_in_another_form_are_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "vicuna-7b.jsonl"
    path.write_text('{"question_id": 81, "choices": [{"index": 0, "turns": ["a", "b"]}]}\n')
    assert read_outputs(path).without_answer() == []


def test_a_file_without_a_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("[1]\n2\n")
    with pytest.raises(
        DataError, match="has no row that can be read: .*:1: a JSON list, not an object of fields; .*:2"
    ):
        read_outputs(path)
    with pytest.raises(DataError, match="there is no file"):
        read_outputs(tmp_path / "b.jsonl")


def test_rows_are_found_by_a_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"id": 7, "n": 0, "text": "a"}, {"id": 7, "n": 1, "text": "b"}, {"text": "c"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = read_outputs(path)
    assert given.grouped("id") == {"7": rows[:2]}
    assert given.by("n") == {"0": rows[0], "1": rows[1]}
    with pytest.raises(DataError, match=r"has 2 rows whose id is '7'. Keep one answer to each"):
        given.by("id")
    with pytest.raises(DataError, match=r"no row of .*a.jsonl has the field 'prompt'; they have id, n, text"):
        given.by("prompt")
