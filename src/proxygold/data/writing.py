"""Writing data files: streaming, in constant memory, and whole or not at all.

`open_writer` writes a file in one go. `encode_rows` and `publish` are for a file that is made over several runs: the
rows of each piece become bytes, which are laid end to end, and in the end they become the file.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxygold.data.files import FileFormat, file_format, read_schema, source_format
from proxygold.errors import DataError
from proxygold.store import to_json, whole_file
from proxygold.whole_files import storage_error

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RowWriter", "encode_rows", "open_writer", "publish", "schema_for", "schema_of"]

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
# A row group of Parquet holds about so many bytes: readers hold one at a time.
_ROW_GROUP = 32 << 20


class RowWriter(Protocol):
    """Takes rows until its block ends; `lines` says where in the data they are from, for what it may have to say."""

    def write(self, rows: Sequence[Mapping[str, Any]], lines: Sequence[int] = ()) -> None: ...


@contextmanager
def open_writer(path: Path, schema: pa.Schema | None = None) -> Iterator[RowWriter]:
    """A writer for the format that the name of `path` says; the file appears when the block ends without an error.

    Parquet needs the `schema` of all its rows, JSONL takes any. Raises DataError for an unknown format or a row
    that does not fit, and StoreError when the disk refuses.
    """
    kind = file_format(path)
    with whole_file(path) as temporary:
        if kind == "parquet":
            with _parquet_writer(path, temporary, schema) as parquet:
                yield _ParquetWriter(path, schema, parquet)
        else:
            with temporary.open("wb") as raw, _compressed(raw, kind) as file:
                yield _JsonlWriter(path, file)


def encode_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], lines: Sequence[int] = (), schema: pa.Schema | None = None
) -> bytes:
    """Rows as bytes for the file `path`: laid end to end, and given to `publish`, the bytes of many calls are it.

    Equal rows give equal bytes. Raises DataError for a row that does not fit.
    """
    kind = file_format(path)
    if kind == "parquet":
        return _arrow_bytes(_table(path, rows, lines, schema))
    buffer = io.BytesIO()
    with _compressed(buffer, kind) as file:
        _JsonlWriter(path, file).write(rows)
    return buffer.getvalue()


def publish(encoded: Path, path: Path, schema: pa.Schema | None = None) -> None:
    """Make the file `path` out of the bytes in `encoded`, whole or not at all. JSONL is moved, Parquet made anew.

    Raises StoreError when the disk refuses.
    """
    if file_format(path) != "parquet":
        try:
            encoded.replace(path)
        except OSError as error:
            raise storage_error(path, error) from error
        return
    with whole_file(path) as temporary, _parquet_writer(path, temporary, schema) as parquet:
        for table in _row_groups(encoded):
            parquet.write_table(table, row_group_size=len(table))


def schema_for(source: Path, rows: Sequence[Mapping[str, Any]], lines: Sequence[int] = ()) -> pa.Schema:
    """The Arrow schema of the data in `source`: its own if it is Parquet, else what its first `rows` imply.

    Raises DataError when a column of `rows` mixes types, or holds a whole number that Parquet has no type for.
    """
    own = read_schema(source) if source_format(source) == "parquet" else None
    return schema_of([], rows, lines, source) if own is None else own


def schema_of(
    declared: Sequence[pa.Schema], rows: Sequence[Mapping[str, Any]], lines: Sequence[int], source: Path | str
) -> pa.Schema:
    """The schema of rows of which some have a `declared` one, and the others are like the first `rows` of `source`.

    Raises DataError when a column mixes types, or holds a whole number that Parquet has no type for.
    """
    import pyarrow as pa

    try:
        schemas = [schema.remove_metadata() for schema in declared] if rows or len(declared) > 1 else [*declared]
        if rows:
            # pyarrow takes the columns from the first row: it gets one that has them all.
            every_column = dict.fromkeys(name for row in rows for name in row)
            schemas.append(pa.Table.from_pylist([every_column, *rows]).schema)
        schema = schemas[0] if len(schemas) == 1 else pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise _unfit(source, rows, lines, error) from error
    # A column that is null in all of the first rows is taken for text: later rows may have some.
    return pa.schema(
        [field.with_type(pa.string()) if rows and pa.types.is_null(field.type) else field for field in schema],
        metadata=schema.metadata,
    )


@contextmanager
def _compressed(raw: Any, kind: FileFormat) -> Iterator[Any]:
    """A stream of bytes into `raw`, compressed as the format says."""
    if kind == "jsonl.gz":
        # No name and no time inside, so that equal rows give equal files.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
            yield file
    elif kind == "jsonl.zst":
        with closing(_ZstdFile(raw)) as file:
            yield file
    else:
        yield raw


class _ZstdFile:
    """Compresses into `raw`, a frame for each mebibyte: pyarrow's own stream would close `raw`."""

    def __init__(self, raw: Any) -> None:
        import pyarrow as pa

        self._codec = pa.Codec("zstd", _ZSTD_LEVEL)
        self._raw = raw
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= 1 << 20:
            self.close()

    def close(self) -> None:
        """Write what is held."""
        if self._held:
            self._raw.write(self._codec.compress(bytes(self._held), asbytes=True))
            self._held.clear()


class _JsonlWriter:
    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file

    def write(self, rows: Sequence[Mapping[str, Any]], lines: Sequence[int] = ()) -> None:
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

    def write(self, rows: Sequence[Mapping[str, Any]], lines: Sequence[int] = ()) -> None:
        self._writer.write_table(_table(self._path, rows, lines, self._schema))


def _table(path: Path, rows: Sequence[Mapping[str, Any]], lines: Sequence[int], schema: Any) -> pa.Table:
    import pyarrow as pa

    if unknown := {name for row in rows for name in row} - set(schema.names):
        raise DataError(
            f"cannot write {path}: the field {min(unknown)!r} is in some rows but not in the first ones, "
            "and Parquet has the same columns in every row. Write .jsonl instead."
        )
    try:
        return pa.Table.from_pylist(list(rows), schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise _unfit(path, rows, lines, error) from error


def _arrow_bytes(table: pa.Table) -> bytes:
    """A table as a stream of Arrow's own, which says by itself where it ends."""
    import pyarrow as pa

    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _row_groups(encoded: Path) -> Iterator[pa.Table]:
    """The tables in a file of Arrow streams, put together until they are a row group."""
    import pyarrow as pa

    held: list[pa.Table] = []
    with pa.OSFile(str(encoded)) as file:
        while file.tell() < file.size():
            held.append(pa.ipc.open_stream(file).read_all())
            if sum(table.nbytes for table in held) >= _ROW_GROUP:
                yield pa.concat_tables(held)
                held = []
    if held:
        yield pa.concat_tables(held)


def _parquet_writer(path: Path, temporary: Path, schema: pa.Schema | None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetWriter(temporary, schema)
    except pa.ArrowNotImplementedError as error:  # a column of empty objects
        raise DataError(f"cannot write {path}: {error} Write .jsonl instead.") from error


def _unfit(path: Path | str, rows: Sequence[Mapping[str, Any]], lines: Sequence[int], error: Exception) -> DataError:
    """Why these rows are no Parquet table."""
    for index, row in enumerate(rows):
        for name, value in row.items():
            if _holds_huge(value):
                # Not as a float: what has so many digits is an identifier or a hash more often than a quantity.
                line = lines[index] if lines else index + 1
                return DataError(
                    f"{path}: the field {name!r} at line {line} of the data holds a whole number beyond 64 bits, which "
                    "Parquet has no type for. Write .jsonl instead, or make the field a text."
                )
    return DataError(
        f"{path}: a column holds values of different types ({error}), and Parquet has one type for each column. "
        "Write .jsonl instead."
    )


def _holds_huge(value: object) -> bool:
    if isinstance(value, int):
        return not -(2**63) <= value < 2**63
    if isinstance(value, Mapping):
        return any(map(_holds_huge, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_huge, value))
