"""Data files, read a row at a time: JSONL (`.jsonl`, `.jsonl.gz`) and Parquet (`.parquet`).

A row that cannot be read is not an error: it comes out as a `RejectedRow` with its place and the reason, and
the rows after it still come. What makes the whole file useless is a DataError.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from proxygold.errors import DataError

__all__ = ["FileFormat", "RejectedRow", "Row", "column_names", "count_rows", "file_format", "read_rows"]

FileFormat = Literal["jsonl", "jsonl.gz", "parquet"]

_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".ndjson.gz": "jsonl.gz",
    ".parquet": "parquet",
}

# Rows of a Parquet file that are in memory at a time.
_PARQUET_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file. `line` is its line in JSONL, its row number in Parquet; both count from 1."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be used, and why."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


def file_format(path: Path) -> FileFormat:
    """The format that a file's name says. Raises DataError for any other name."""
    for suffix, name in _SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return name
    raise DataError(
        f"{path} has no format that is known by its name. Allowed: {', '.join(_SUFFIXES)}. "
        "JSONL has one JSON object on each line; a JSON list has to be written out as such lines first."
    )


def read_rows(path: Path) -> Iterator[Row | RejectedRow]:
    """The rows of a file, in order, in constant memory. Blank lines are counted and passed over.

    Raises DataError for a file that is missing, unreadable, of another format, or without a single row.
    """
    kind = file_format(path)
    _check_exists(path)
    empty = True
    for row in _parquet_rows(path) if kind == "parquet" else _jsonl_rows(path, kind):
        empty = False
        yield row
    if empty:
        raise DataError(f"{path} is empty. Give a file with at least one row.")


def column_names(path: Path) -> list[str] | None:
    """The columns of a Parquet file; None for JSONL, whose rows may each have their own."""
    kind = file_format(path)
    _check_exists(path)
    if kind != "parquet":
        return None
    with _parquet_file(path) as file:
        return list(file.schema_arrow.names)


def count_rows(path: Path) -> int:
    """How many rows a progress bar should expect, without parsing them (blank lines count)."""
    kind = file_format(path)
    if kind == "parquet":
        with _parquet_file(path) as file:
            return int(file.metadata.num_rows)
    newlines, last = 0, b"\n"
    try:
        with _open(path, kind) as file:
            while block := file.read(1 << 20):
                newlines += block.count(b"\n")
                last = block
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    return newlines + (not last.endswith(b"\n"))


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"there is no file {path}. Give the path of a file of these kinds: {', '.join(_SUFFIXES)}.")


def _jsonl_rows(path: Path, kind: FileFormat) -> Iterator[Row | RejectedRow]:
    try:
        with _open(path, kind) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parse(path, number, line)
    except (OSError, EOFError, zlib.error) as error:  # EOFError: a .gz file that was cut off
        raise _unreadable(path, error) from error


def _parse(path: Path, number: int, line: bytes) -> Row | RejectedRow:
    try:
        # Decoded line by line, so that one bad byte costs one row. The first may begin with a byte-order
        # mark.
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        values = json.loads(text)
        if "\\ud" in text.lower():
            # An escaped surrogate without its other half parses, but no tokenizer and no file can take it.
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        return RejectedRow(path, number, f"not UTF-8 at byte {error.start} of the line")
    except UnicodeEncodeError:
        return RejectedRow(path, number, "holds half of a surrogate pair, which is no character")
    except json.JSONDecodeError as error:
        return RejectedRow(path, number, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        return RejectedRow(path, number, f"not JSON that can be read: {error}")
    if not isinstance(values, dict):
        return RejectedRow(path, number, f"a JSON {_json_type(values)}, not an object of fields")
    return Row(number, values)


def _parquet_rows(path: Path) -> Iterator[Row | RejectedRow]:
    import pyarrow as pa

    number = 0
    with _parquet_file(path) as file:
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for values in batch.to_pylist(maps_as_pydicts="lossy"):
                    number += 1
                    yield Row(number, values)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _open(path: Path, kind: FileFormat) -> Any:
    return gzip.open(path, "rb") if kind == "jsonl.gz" else path.open("rb")


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or error
    return DataError(f"cannot read {path}: {reason}. Check that it is complete and of the format that its name says.")


def _json_type(value: object) -> str:
    names = {str: "string", bool: "boolean", int: "number", float: "number", list: "list"}
    return names.get(type(value), "null")
