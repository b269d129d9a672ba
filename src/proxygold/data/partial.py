"""A file that is made piece by piece, over several runs if need be, and appears whole or not at all.

Until it is done its pieces are in a directory beside it:

    OUT.partial/
      manifest.json     what is being made, and out of what
      rows              the pieces, end to end
      rejected.jsonl    what becomes OUT.rejected.jsonl
      journal.jsonl     one line a piece: its lengths, a checksum, and what its maker wants to know when it goes on

Each piece goes to `rows` before its line goes to the journal. A run that goes on keeps the pieces up to the first that
is not there as the journal says, and cuts off the rest: nothing is trusted that a crash may have left half.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from proxygold.data.sources import PARTIAL
from proxygold.data.writing import publish
from proxygold.errors import StoreError
from proxygold.store import to_json
from proxygold.whole_files import storage_error, whole_file, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PartialFile", "open_partial"]

# All that it holds; the last is how a manifest begins that a killed writer left.
_NAMES = ("manifest.json", "rows", "rejected.jsonl", "journal.jsonl", ".lock", ".manifest.json.")


class PartialFile:
    """What is done of `target`. Made by `open_partial`.

    `manifest` is that of the run which began it, None when this one begins. `pieces` counts what is done, None until
    `recover` has looked.
    """

    def __init__(self, target: Path, directory: Path) -> None:
        self.manifest = _read_manifest(directory / "manifest.json")
        self.pieces: int | None = None if self.manifest else 0
        self._target = target
        self._directory = directory
        self._rows, self._rejected, self._journal = (
            (directory / name).open("ab+") for name in ("rows", "rejected.jsonl", "journal.jsonl")
        )

    def describe(self, manifest: Mapping[str, Any]) -> None:
        """Write down what is being made. Raises StoreError when the disk refuses."""
        write_whole(self._directory / "manifest.json", json.dumps(manifest, ensure_ascii=False) + "\n")

    def recover(self, keep: Callable[[dict[str, Any]], bool] = lambda record: True) -> Iterator[dict[str, Any]]:
        """The records of the pieces that are whole, in order, up to the first that is not or that `keep` refuses.

        What is after them is cut off when they are all taken. Raises StoreError when the disk refuses.
        """
        try:
            for file in self._files:
                file.seek(0)
            ends = [0, 0, 0]
            pieces = 0
            for line in self._journal:
                entry = _whole_piece(line, self._rows, self._rejected)
                if entry is None or not keep(entry["record"]):
                    break
                ends = [self._rows.tell(), self._rejected.tell(), ends[2] + len(line)]
                pieces += 1
                yield entry["record"]
            for file, end in zip(self._files, ends, strict=True):
                file.truncate(end)
                file.seek(end)
            self.pieces = pieces
        except OSError as error:
            raise storage_error(self._target, error) from error

    def append(self, rows: bytes, rejected: bytes, record: Mapping[str, Any]) -> None:
        """Add a piece. Raises StoreError when the disk refuses; what was done before stays."""
        entry = {"rows": len(rows), "rejected": len(rejected), "crc": _checksum(rows, rejected), "record": record}
        try:
            for file, data in zip(self._files, (rows, rejected, to_json(entry).encode() + b"\n"), strict=True):
                file.write(data)
                file.flush()
        except OSError as error:
            raise storage_error(self._target, error) from error
        self.pieces = (self.pieces or 0) + 1

    def publish(self, rejected: Path, schema: pa.Schema | None) -> None:
        """Make the target out of the pieces, and `rejected`, which there is only where a row was rejected.

        Raises StoreError when the disk refuses; all pieces stay.
        """
        # First, and as a copy: if this is stopped in between, the directory is still as the journal says.
        if self._rejected.tell():
            with whole_file(rejected) as temporary:
                shutil.copyfile(self._directory / "rejected.jsonl", temporary)
        else:
            rejected.unlink(missing_ok=True)  # of an earlier run that is written over
        publish(self._directory / "rows", self._target, schema)
        shutil.rmtree(self._directory, ignore_errors=True)

    def close(self) -> None:
        """Close its files; what was not flushed was refused by the disk before."""
        for file in self._files:
            with suppress(OSError):
                file.close()

    @property
    def _files(self) -> tuple[IO[bytes], ...]:
        return self._rows, self._rejected, self._journal


@contextmanager
def open_partial(target: Path) -> Iterator[PartialFile]:
    """What is done of `target`, held for this process. Without a single piece in the end, it leaves no trace.

    Raises StoreError when another process holds it, when the directory holds something else, or the disk refuses.
    """
    directory = target.with_name(target.name + PARTIAL)
    with ExitStack() as held:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if strangers := sorted(name for name in os.listdir(directory) if not name.startswith(_NAMES)):
                raise StoreError(f"{directory} is kept for what is not finished, and has {strangers[0]}. Move it away.")
            lock = held.enter_context((directory / ".lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial = PartialFile(target, directory)
        except BlockingIOError as error:
            raise StoreError(f"{target} is being made by another process. Wait for it, or give another name.") from (
                error
            )
        except OSError as error:
            raise storage_error(target, error) from error
        try:
            yield partial
        finally:
            partial.close()
            if partial.pieces == 0:
                shutil.rmtree(directory, ignore_errors=True)


def _read_manifest(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError:
        manifest = None
    # One that is damaged says nothing of what is done; it is another's, and its differences say so.
    return manifest if isinstance(manifest, dict) else {}


def _whole_piece(line: bytes, rows: IO[bytes], rejected: IO[bytes]) -> dict[str, Any] | None:
    """What a line of the journal says, if the piece is there as it says."""
    try:
        entry = json.loads(line)
        pieces = rows.read(entry["rows"]), rejected.read(entry["rejected"])
        whole = line.endswith(b"\n") and tuple(map(len, pieces)) == (entry["rows"], entry["rejected"])
        return entry if whole and _checksum(*pieces) == entry["crc"] and isinstance(entry["record"], dict) else None
    except (ValueError, KeyError, TypeError):
        return None


def _checksum(rows: bytes, rejected: bytes) -> int:
    return zlib.crc32(rejected, zlib.crc32(rows))
