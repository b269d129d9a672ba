"""Files and directories that appear whole or not at all: written beside their place, then renamed into it.

What a killed writer left beside a place is removed at the next write to the same place, or by `sweep`. A directory that
was sealed can be told to be still what was written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxygold.errors import StoreError

__all__ = [
    "find_damage",
    "held_directory",
    "remove_whole",
    "seal",
    "storage_error",
    "sweep",
    "whole_directory",
    "whole_file",
    "write_whole",
]


def storage_error(path: Path, error: OSError) -> StoreError:
    """The error to raise when the disk refused to write `path`."""
    return StoreError(
        f"cannot write {path}: {error.strerror or error}. Nothing was written over. "
        "Free some space or choose another place, then run the same command again: what is done is kept."
    )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it appears whole or not at all. Raises StoreError when the disk refuses."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes its place at `path` when the block ends without an error, else it vanishes."""
    with _beside(path, Path.touch) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Give a directory to fill; it takes its place at `path` when the block ends without an error, else it vanishes.

    A directory that is at `path` already stays until the new one is complete. It is moved aside, not removed, before
    the new one is moved in, so that at no moment both are gone.
    """
    with _beside(path, Path.mkdir) as temporary:
        yield temporary
        if not path.is_dir():
            temporary.rename(path)
            return
        old = temporary.with_suffix(_OLD)
        with _held(path):
            path.rename(old)
            try:
                temporary.rename(path)
            except OSError:
                old.rename(path)
                raise
            _remove(old)


@contextmanager
def held_directory(path: Path, in_use: str) -> Iterator[None]:
    """Hold a directory, made where there is none, for one process. Raises StoreError with `in_use` when it is held.

    The lock is the kernel's, so it goes when its process dies; nothing has to be cleaned up by hand.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / ".lock").open("a+")
    except OSError as error:
        raise storage_error(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{path} is in use by another {in_use}") from error
        yield


def remove_whole(path: Path) -> None:
    """Remove a directory so that it is never half there. What a killed process leaves of it, `sweep` removes."""
    aside = _name_beside(path)
    path.rename(aside)
    _remove(aside)


def sweep(directory: Path) -> None:
    """Remove what killed writers left in a directory, whatever place they were writing to."""
    if directory.is_dir():
        _sweep(directory, r".+")


# --- sealed directories -----------------------------------------------------------------------------------------------

# What a sealed directory holds: its other files by name, each with its size in bytes and its SHA-256.
CHECKSUMS = "checksums.json"


def seal(directory: Path) -> None:
    """Write down what the files of a directory are, so that `find_damage` can tell later. They are on the disk then."""
    sums = {}
    for file in sorted(path for path in directory.iterdir() if path.name != CHECKSUMS):
        with file.open("rb") as opened:
            sums[file.name] = {
                "bytes": os.fstat(opened.fileno()).st_size,
                "sha256": hashlib.file_digest(opened, "sha256").hexdigest(),
            }
            os.fsync(opened.fileno())
    write_whole(directory / CHECKSUMS, json.dumps(sums, indent=2) + "\n")


def find_damage(directory: Path) -> str | None:
    """What is wrong with a sealed directory, in words that name the file; None when all is as it was written.

    Files that were added are not looked at. Raises OSError when the disk cannot be read.
    """
    try:
        sums = json.loads((directory / CHECKSUMS).read_text(encoding="utf-8"))
        expected = [(name, entry["bytes"], entry["sha256"]) for name, entry in sums.items()]
    except FileNotFoundError:
        return f"{CHECKSUMS} is missing"
    except (ValueError, AttributeError, KeyError, TypeError):
        return f"{CHECKSUMS} is damaged"
    for name, size, digest in expected:
        file = directory / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes where {size:,} were written"
        with file.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != digest:
                return f"{name} holds other bytes than were written"
    return None


# --- beside its place -------------------------------------------------------------------------------------------------

# What is being written, and what is being replaced. The leading dot of their names keeps readers away.
_NEW, _OLD = ".tmp", ".old"


@contextmanager
def _beside(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new file or directory beside `path`, gone when the block ends, unless the block moved it to its place.

    This process holds it by a lock of the kernel's, which goes when the process dies, however it does: so the next
    writer to `path` knows what a killed one left, and removes that. Raises StoreError when the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent, re.escape(path.name))
        temporary, handle = _claim_name(path, make)
        try:
            yield temporary
        finally:
            _remove(temporary)
            os.close(handle)
    except OSError as error:
        raise storage_error(path, error) from error


def _claim_name(path: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    """A name of its own beside `path`, with what `make` puts there, and a handle that locks it."""
    while True:
        temporary = _name_beside(path)
        make(temporary)
        with suppress(FileNotFoundError):  # another writer swept it before it was locked
            handle = os.open(temporary, os.O_RDONLY)
            _lock(handle)
            if temporary.exists():
                return temporary, handle
            os.close(handle)


def _name_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}{_NEW}")


def _lock(handle: int) -> bool:
    """Take the lock of an open file or directory; False when another holds it, or the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold the lock of what is at `path`; False when it could not be had."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _sweep(directory: Path, pattern: str) -> None:
    """Remove what killed writers to names of this pattern left. What nobody can lock is somebody's, and stays."""
    ours = re.compile(rf"\.({pattern})\.\d+\.[0-9a-f]{{8}}({re.escape(_NEW)}|{re.escape(_OLD)})")
    for found in filter(None, map(ours.fullmatch, os.listdir(directory))):
        entry, path = directory / found[0], directory / found[1]
        with suppress(OSError), _held(entry) as stale:
            if stale and entry.suffix == _OLD and not path.exists():
                entry.rename(path)  # its writer died between the two renames
            elif stale:
                _remove(entry)


def _remove(path: Path) -> None:
    """Remove a file or directory as far as the disk allows; one that is not there is removed already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
