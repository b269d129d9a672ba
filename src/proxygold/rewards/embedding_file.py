"""Embeddings on disk, for the next process: one SQLite file for an encoder, in a directory that many processes share.

Several processes and threads may read and write at once. What one call writes is there whole or not at all, also when
the process is killed. Each vector carries a checksum; a damaged file is an error that says what to do.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxygold.errors import StoreError

__all__ = ["EmbeddingFile"]

# Seconds to wait while another process writes.
_PATIENCE = 60
# Texts asked for at once: SQLite takes at most 999 values in a statement on its oldest builds.
_ASKED = 500

_TABLE = """CREATE TABLE IF NOT EXISTS embeddings
    (text BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID"""


class EmbeddingFile:
    """The embeddings that one encoder gave, in `directory`; the encoder's fingerprint is the file's name.

    Raises StoreError, from every method, when the file is damaged or cannot be read or written.
    """

    def __init__(self, directory: Path, fingerprint: str, dimension: int) -> None:
        self.path = directory / f"embeddings-{fingerprint[:16]}.sqlite"
        self._bytes = 4 * dimension

    def read(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The embeddings, (d,) float32, of those `texts` that are here."""
        keys = {_key(text): text for text in texts}
        if not self.path.exists():
            return {}
        found: dict[str, NDArray[np.float32]] = {}
        asked = list(keys)
        with self._open() as connection:
            for start in range(0, len(asked), _ASKED):
                some = asked[start : start + _ASKED]
                marks = ", ".join("?" * len(some))
                rows = connection.execute(f"SELECT * FROM embeddings WHERE text IN ({marks})", some)
                for key, vector, checksum in rows:
                    if len(vector) != self._bytes or zlib.crc32(vector) != checksum:
                        raise self._damaged("a vector is not the one that was written")
                    found[keys[key]] = np.frombuffer(vector, dtype="<f4").astype(np.float32)
        return found

    def write(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        """Add the embedding of each text, all or none of them; texts that are here already stay as they are."""
        rows = [(_key(text), vector.astype("<f4").tobytes()) for text, vector in embeddings.items()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        with self._open() as connection, connection:  # the second ends the transaction
            connection.executemany(
                "INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?)",
                [(key, vector, zlib.crc32(vector)) for key, vector in rows],
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # Opened for each call, a millisecond: no connection is shared by threads or crosses a fork.
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE)
            connection.execute(_TABLE)
            yield connection
        except sqlite3.OperationalError as error:  # no room, no permission, no directory, locked for too long
            raise self._unusable(error) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        finally:
            if connection is not None:
                connection.close()

    def _damaged(self, what: str) -> StoreError:
        return StoreError(
            f"the cache of embeddings {self.path} is damaged: {what}. Delete that file; it is made anew, at the cost "
            "of encoding its texts once more."
        )

    def _unusable(self, error: Exception) -> StoreError:
        return StoreError(
            f"the cache of embeddings {self.path} cannot be used: {error}. Choose another directory with "
            "encoder.cache=DIRECTORY, or leave encoder.cache out."
        )


def _key(text: str) -> bytes:
    # Half a character, which some tokenizers' output has, is no UTF-8, but a text like any other here.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
