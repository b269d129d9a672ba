"""Answers kept in an SQLite file, each written as it comes."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path

from proxygold.errors import StoreError
from proxygold.llm.records import Reply

__all__ = ["Cache"]


class Cache:
    """Answers by key, each written as it comes. Several processes may share the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Each statement is its own transaction.
            self._file = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._file.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def get(self, key: str) -> Reply | None:
        try:
            row = self._file.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            return None if row is None else Reply(**json.loads(row[0]))
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise self._unusable(error) from error

    def put(self, key: str, reply: Reply) -> None:
        try:
            self._file.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, json.dumps(asdict(reply))))
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        self._file.close()

    def _unusable(self, error: Exception) -> StoreError:
        return StoreError(
            f"the cache of answers {self._path} cannot be used: {error}. Free some space, give another file with "
            "--cache, or delete this one if it is damaged: its answers are then asked for again."
        )
