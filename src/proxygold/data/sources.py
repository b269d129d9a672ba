"""Where rows come from: files, directories, patterns of file names, and data sets of the Hugging Face hub.

Many sources are read as one, one after another: each in the order of its rows, and the files of a directory or of a
pattern in the order of their names. A place among them is the source and the rows of it that came before.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from proxygold.data.files import RawRows, count_rows, is_data_file, read_raw_rows, read_schema, source_format
from proxygold.data.hub import find_hub_source, is_hub_name
from proxygold.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PARTIAL", "Chunk", "FileSource", "Position", "Source", "UnusableSource", "find_sources", "read_chunks"]

# How the directory ends that a file which is not finished is kept in (`partial.py`): no data.
PARTIAL = ".partial"
_REJECTED = ".rejected.jsonl"
# What closes a chunk beside its number of rows.
_CHUNK_BYTES = 16 << 20

# The number of a source, and how many of its rows (lines, in JSONL) came before.
Position = tuple[int, int]


class Source(Protocol):
    """Rows in an order of their own. It goes to another process as a name, not as rows."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str:
        """What tells it from every other source: a file's absolute path."""

    def read(self, after: int, size: int) -> Iterator[RawRows]:
        """The rows after the first `after`, at most `size` at a time. Raises DataError when they cannot be read."""

    def schema(self) -> pa.Schema | None:
        """The columns and their types, where they are declared; None for JSONL."""

    def count(self) -> int:
        """How many rows a progress bar should expect."""

    def fingerprint(self) -> str:
        """What changes when the rows do."""

    def bytes_to_count(self) -> int:
        """How many bytes `count` has to read."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file, under the name that messages and lists of rejected rows call it by."""

    name: str
    path: Path

    @property
    def key(self) -> str:
        return str(self.path.absolute())

    def read(self, after: int, size: int) -> Iterator[RawRows]:
        for raw in read_raw_rows(self.path, after, size):
            yield RawRows(self.name, raw.first, raw.content)

    def schema(self) -> pa.Schema | None:
        return read_schema(self.path)

    def count(self) -> int:
        return count_rows(self.path)

    def fingerprint(self) -> str:
        status = self.path.stat()
        return f"{status.st_size} bytes, modified {status.st_mtime_ns}"

    def bytes_to_count(self) -> int:
        return 0 if source_format(self.path) == "parquet" else self.path.stat().st_size


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are scored together, from one source or several that follow each other.

    `pieces` are the rows, `end` is the place after the last of them.
    """

    pieces: tuple[RawRows, ...]
    end: Position

    def __len__(self) -> int:
        return sum(map(len, self.pieces))


class UnusableSource(DataError):
    """A source that cannot be read to its end; `number` is its place among the sources."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number

    def __reduce__(self) -> tuple[type[UnusableSource], tuple[str, int]]:
        return type(self), (str(self), self.number)


def find_sources(given: Sequence[str | Path | Source]) -> list[Source]:
    """The sources that are meant by paths, directories, patterns and names of data sets, in the order of `given`.

    - A directory means the data files in it and below it, but for hidden ones (`.x`, `_x`), lists of rejected rows,
      what is not finished (`x.partial`), and .json, which may hold anything.
    - A pattern (`*`, `?`, `[…]`, and `**` for any depth) means the data files that it fits, and directories as above.
    - `hub:NAME`, `hub:NAME:SPLIT`, `hub:NAME:CONFIG:SPLIT` and `hf://datasets/…` are told in `hub.py`.

    What is a source already stays one. Raises DataError for what is not there, means no data file, or means the same
    file twice.
    """
    found: list[Source] = []
    for item in given:
        if not isinstance(item, str | Path):
            found.append(item)
            continue
        item = str(item)
        if is_hub_name(item):
            found.append(find_hub_source(item))
        else:
            found += [FileSource(str(path), path) for path in _files(item)]
    times = Counter(source.key for source in found)
    if twice := [source.name for source in found if times[source.key] > 1]:
        raise DataError(f"{twice[0]} is meant twice by what was given. Its rows would come out twice: give it once.")
    return found


def read_chunks(sources: Sequence[Source], start: Position, size: int) -> Iterator[Chunk]:
    """All rows after `start`, in chunks of `size` rows or a few more, less where they are long.

    Raises UnusableSource when the rows before it are given out.
    """
    pieces: list[RawRows] = []
    rows = held = 0
    end = start
    for number in range(start[0], len(sources)):
        try:
            for raw in sources[number].read(start[1] if number == start[0] else 0, size):
                pieces.append(raw)
                end = (number, raw.last)
                rows += len(raw)
                held += _bytes(raw)
                if rows >= size or held >= _CHUNK_BYTES:
                    yield Chunk(tuple(pieces), end)
                    pieces, rows, held = [], 0, 0
        except DataError as error:
            if pieces:
                yield Chunk(tuple(pieces), end)
            raise UnusableSource(str(error), number) from error
    if pieces:
        yield Chunk(tuple(pieces), end)


def _bytes(raw: RawRows) -> int:
    return sum(map(len, raw.content)) if isinstance(raw.content, list) else int(raw.content.nbytes)


# --- names of files ---------------------------------------------------------------------------------------------------


def _files(item: str) -> list[Path]:
    path = Path(item).expanduser()
    if path.is_dir():
        files = list(_below(path))
        if not files:
            raise DataError(f"the directory {item} has no data file in it or below it. {_ALLOWED}")
        return files
    if path.exists() or not glob.has_magic(item):
        if path.suffix or path.exists():
            source_format(path)
        if not path.is_file():
            kind = "file" if path.suffix else "file or directory"
            raise DataError(f"there is no {kind} {item}. Give a file, a directory, a pattern in quotes, or hub:NAME.")
        return [path]
    fits = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    fits = [fit for fit in fits if not any(part.endswith(PARTIAL) for part in fit.parts)]
    files = [file for fit in fits for file in (_below(fit) if fit.is_dir() else [fit]) if _is_data(file)]
    if not files:
        what = f"fits no data file, only such as {fits[0]}" if fits else "fits no file"
        raise DataError(f"the pattern {item} {what}. {_ALLOWED}")
    return list(dict.fromkeys(files))  # `**` fits a directory, and the files in it too


_ALLOWED = (
    "Data files end in .jsonl, .jsonl.gz, .jsonl.zst, .ndjson (also .gz and .zst) or .parquet. A JSON array (.json) is "
    "read when it is named."
)


def _below(directory: Path) -> Iterator[Path]:
    seen = set()
    for here, folders, files in os.walk(directory, onerror=_refuse, followlinks=True):
        seen.add(os.path.realpath(here))
        # In the order of names; a link back up would go round for ever.
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "_"))
            and not name.endswith(PARTIAL)
            and os.path.realpath(Path(here, name)) not in seen
        )
        yield from (Path(here, name) for name in sorted(files) if _is_data(Path(name)))


def _refuse(error: OSError) -> None:
    # Left to itself, the walk would pass over what it may not read.
    raise DataError(f"cannot read {error.filename}: {error.strerror}. Make it readable, or give the files.")


def _is_data(path: Path) -> bool:
    return is_data_file(path) and not path.name.startswith((".", "_")) and not path.name.endswith(_REJECTED)
