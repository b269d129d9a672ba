"""Data files, read a row at a time: JSONL (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`) and Parquet (`.parquet`).

A JSON file of one array (`.json`, `.json.gz`, `.json.zst`), as many data sets are published, is read, but not written.
A row that cannot be read is not an error: it comes out as a `RejectedRow` with its place and the reason, and
the rows after it still come. What makes the whole file useless is a DataError.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from proxygold.data.json_array import array_elements
from proxygold.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FileFormat",
    "RawRows",
    "RejectedRow",
    "Row",
    "SourceFormat",
    "column_names",
    "count_rows",
    "file_format",
    "is_data_file",
    "parse_rows",
    "read_raw_rows",
    "read_rows",
    "read_schema",
    "source_format",
]

FileFormat = Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]
SourceFormat = FileFormat | Literal["json", "json.gz", "json.zst"]

_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".ndjson.gz": "jsonl.gz",
    ".jsonl.zst": "jsonl.zst",
    ".ndjson.zst": "jsonl.zst",
    ".parquet": "parquet",
}
_JSON: dict[str, SourceFormat] = {".json": "json", ".json.gz": "json.gz", ".json.zst": "json.zst"}
_JSON_KINDS = frozenset(_JSON.values())

# Rows that are in memory at a time, and bytes: one row may be a megabyte long.
_ROWS = 512
_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file. `line` is its line in JSONL, its row number in Parquet; both count from 1."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be used, and why. `path` is its file, or the name of what else it is from."""

    path: Path | str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows that follow each other in one place, not parsed yet: quick to read, to pass over and to send elsewhere.

    `content` is lines of JSONL, blank ones too, or an Arrow record batch; `first` is the line of its first row.
    """

    path: Path | str
    first: int
    content: list[bytes] | pa.RecordBatch

    def __len__(self) -> int:
        return len(self.content)

    @property
    def last(self) -> int:
        """The line of its last row."""
        return self.first + len(self) - 1


def file_format(path: Path) -> FileFormat:
    """The format that a file's name says, to write or to read. Raises DataError for any other name."""
    for suffix, name in _SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return name
    raise DataError(
        f"{path} has no format that is known by its name. Allowed: {', '.join(_SUFFIXES)}. "
        "JSONL has one JSON object on each line; a JSON array (.json) is read, but not written."
    )


def source_format(path: Path) -> SourceFormat:
    """The format of a file to read, by its name. Raises DataError for a name that says none."""
    for suffix, name in _JSON.items():
        if path.name.lower().endswith(suffix):
            return name
    try:
        return file_format(path)
    except DataError as error:
        raise DataError(
            f"{path} has no format that is known by its name. Allowed: {', '.join((*_SUFFIXES, *_JSON))}."
        ) from error


def is_data_file(path: Path) -> bool:
    """Whether a name says one of the formats that hold nothing but rows, which a .json may not."""
    return path.name.lower().endswith(tuple(_SUFFIXES))


def read_rows(path: Path) -> Iterator[Row | RejectedRow]:
    """The rows of a file, in order, in constant memory. Blank lines are counted and passed over.

    Raises DataError for a file that is missing, unreadable, of another format, or without a single row.
    """
    empty = True
    for raw in read_raw_rows(path):
        for row in parse_rows(raw):
            empty = False
            yield row
    if empty:
        raise DataError(f"{path} is empty. Give a file with at least one row.")


def read_raw_rows(path: Path, after: int = 0, size: int = _ROWS) -> Iterator[RawRows]:
    """What is in a file after its line `after`, at most `size` rows and about 16 MiB at a time.

    Raises DataError for a file that is missing, unreadable or of another format, when what came before is given out.
    """
    kind = source_format(path)
    _check_exists(path)
    if kind == "parquet":
        return _raw_parquet(path, after, size)
    if kind in _JSON_KINDS:
        return _raw_json(path, kind, after, size)
    return _raw_jsonl(path, kind, after, size)


def parse_rows(raw: RawRows) -> Iterator[Row | RejectedRow]:
    """The rows in what was read, without the blank lines."""
    if isinstance(raw.content, list):
        for number, line in enumerate(raw.content, start=raw.first):
            if line.strip():
                yield _parse(raw.path, number, line)
    else:
        for number, values in enumerate(raw.content.to_pylist(maps_as_pydicts="lossy"), start=raw.first):
            yield Row(number, values)


def column_names(path: Path) -> list[str] | None:
    """The columns of a Parquet file; None for JSONL, whose rows may each have their own."""
    schema = read_schema(path)
    return None if schema is None else list(schema.names)


def read_schema(path: Path) -> pa.Schema | None:
    """The Arrow schema of a Parquet file; None for JSONL, which says none."""
    kind = source_format(path)
    _check_exists(path)
    if kind != "parquet":
        return None
    with _parquet_file(path) as file:
        return file.schema_arrow


def count_rows(path: Path) -> int:
    """How many rows a progress bar should expect, without parsing them (blank lines count)."""
    kind = source_format(path)
    if kind == "parquet":
        with _parquet_file(path) as file:
            return int(file.metadata.num_rows)
    if kind in _JSON_KINDS:
        return sum(len(raw) for raw in _raw_json(path, kind, 0, _ROWS))
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
        kinds = ", ".join((*_SUFFIXES, *_JSON))
        raise DataError(f"there is no file {path}. Give the path of a file of these kinds: {kinds}.")


# --- JSONL ------------------------------------------------------------------------------------------------------------


def _raw_jsonl(path: Path, kind: SourceFormat, after: int, size: int) -> Iterator[RawRows]:
    return _raw_texts(path, kind, after, size, iter)


def _raw_json(path: Path, kind: SourceFormat, after: int, size: int) -> Iterator[RawRows]:
    """The elements of a JSON array; the `line` of one is its number."""
    return _raw_texts(path, kind, after, size, array_elements)


def _raw_texts(
    path: Path, kind: SourceFormat, after: int, size: int, split: Callable[[IO[bytes]], Iterator[bytes]]
) -> Iterator[RawRows]:
    """The texts of rows, as `split` finds them in a file."""
    lines: list[bytes] = []
    held, first, failure = 0, after + 1, None
    try:
        with _open(path, kind) as file:
            for line in islice(split(file), after, None):
                lines.append(line)
                held += len(line)
                if len(lines) == size or held >= _BYTES:
                    yield RawRows(path, first, lines)
                    first += len(lines)
                    lines, held = [], 0
    except (OSError, EOFError, zlib.error, ValueError) as error:  # EOFError: a .gz file that was cut off
        failure = error
    if lines:
        yield RawRows(path, first, lines)
    if failure is not None:
        raise _unreadable(path, failure) from failure


def _parse(path: Path | str, number: int, line: bytes) -> Row | RejectedRow:
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


def _open(path: Path, kind: SourceFormat) -> Any:
    if kind.endswith(".gz"):
        return gzip.open(path, "rb")
    if kind.endswith(".zst"):
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), 1 << 20)
    return path.open("rb")


def _json_type(value: object) -> str:
    names = {str: "string", bool: "boolean", int: "number", float: "number", list: "list"}
    return names.get(type(value), "null")


# --- Parquet ----------------------------------------------------------------------------------------------------------


def _raw_parquet(path: Path, after: int, size: int) -> Iterator[RawRows]:
    import pyarrow as pa

    with _parquet_file(path) as file:
        # Whole row groups are passed over unread.
        group, number = 0, 0
        while group < file.num_row_groups and number + file.metadata.row_group(group).num_rows <= after:
            number += file.metadata.row_group(group).num_rows
            group += 1
        try:
            for batch in file.iter_batches(batch_size=size, row_groups=list(range(group, file.num_row_groups))):
                number += len(batch)
                if number > after:
                    yield from _split(path, batch, number - len(batch), after)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error


def _split(path: Path | str, batch: pa.RecordBatch, before: int, after: int) -> Iterator[RawRows]:
    """A batch that has `before` rows before it, without the rows up to line `after`, in pieces of about 16 MiB."""
    pieces = batch.nbytes // _BYTES + 1
    size = -(-len(batch) // pieces)
    for start in range(max(after - before, 0), len(batch), size):
        # Taken, not sliced: what is sliced goes to another process with all the rest.
        whole = start == 0 and size >= len(batch)
        part = batch if whole else batch.take(list(range(start, min(start + size, len(batch)))))
        yield RawRows(path, before + start + 1, part)


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    if type(error) is ValueError:  # of a JSON array
        return DataError(f"cannot read {path}: it {error}. A .json file holds one array of objects.")
    reason = getattr(error, "strerror", None) or error
    return DataError(f"cannot read {path}: {reason}. Check that it is complete and of the format that its name says.")
