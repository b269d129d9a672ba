"""Writing data files: streaming, in constant memory, and whole or not at all."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxygold.data.files import file_format
from proxygold.errors import DataError
from proxygold.store import to_json, whole_file

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RowWriter", "open_writer", "schema_for"]


class RowWriter(Protocol):
    """Takes rows until its block ends."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None: ...


@contextmanager
def open_writer(path: Path, schema: pa.Schema | None = None) -> Iterator[RowWriter]:
    """A writer for the format that the name of `path` says; the file appears when the block ends without an error.

    Parquet needs the `schema` of all its rows, JSONL takes any. Raises DataError for an unknown format or a row
    that does not fit, and StoreError when the disk refuses.
    """
    kind = file_format(path)
    with whole_file(path) as temporary:
        if kind == "parquet":
            import pyarrow.parquet as pq

            with pq.ParquetWriter(temporary, schema) as parquet:
                yield _ParquetWriter(path, schema, parquet)
        elif kind == "jsonl.gz":
            # No name and no time inside, so that equal rows give equal files.
            with temporary.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
                yield _JsonlWriter(path, file)
        else:
            with temporary.open("wb") as file:
                yield _JsonlWriter(path, file)


def schema_for(source: Path, rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The Arrow schema of the data in `source`: its own if it is Parquet, else what its first `rows` imply.

    Raises DataError when a column of `rows` mixes types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file_format(source) == "parquet":
        return pq.read_schema(source)
    # pyarrow takes the columns from the first row: it gets one that has them all.
    every_column = dict.fromkeys(name for row in rows for name in row)
    try:
        inferred = pa.Table.from_pylist([every_column, *rows]).schema
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise _mixed_types(source, error) from error
    # A column that is null in all of the first rows is taken for text: later rows may have some.
    return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in inferred])


class _JsonlWriter:
    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            try:
                line = to_json(row)
            except TypeError as error:  # a date, or bytes, out of a Parquet file
                raise DataError(f"cannot write {self._path}: {error}. Write .parquet instead.") from error
            self._file.write(line.encode("utf-8") + b"\n")


class _ParquetWriter:
    def __init__(self, path: Path, schema: Any, writer: Any) -> None:
        self._path = path
        self._schema = schema
        self._writer = writer

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        import pyarrow as pa

        if unknown := {name for row in rows for name in row} - set(self._schema.names):
            raise DataError(
                f"cannot write {self._path}: the field {min(unknown)!r} is in some rows but not in the first ones, "
                "and Parquet has the same columns in every row. Write .jsonl instead."
            )
        try:
            table = pa.Table.from_pylist(list(rows), schema=self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise _mixed_types(self._path, error) from error
        self._writer.write_table(table)


def _mixed_types(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: a column holds values of different types ({error}), and Parquet has one type for each column. "
        "Write .jsonl instead."
    )
