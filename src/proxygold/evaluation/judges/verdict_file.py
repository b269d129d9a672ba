"""A judge's verdicts in a file, each written as it came. The only code that knows the form of the file.

JSON, a verdict a line (`VerdictLine`). A question can have several lines, when it was asked again or of another judge;
the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from proxygold.errors import StoreError
from proxygold.evaluation.judges.verdicts import NO_ANSWER, VerdictLine
from proxygold.json_lines import iterate_jsonl, to_json
from proxygold.whole_files import storage_error

__all__ = ["VerdictFile", "read_verdict_lines"]

_FIELDS = {field.name for field in fields(VerdictLine)}


class VerdictFile:
    """Verdicts by judge and request, read once and added to. One process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[tuple[str, str], VerdictLine] = {}
        self._ids: set[tuple[str, str, str]] = set()
        for line in read_verdict_lines(path) if path.exists() else ():
            self._keep(line)

    def find(self, request: str, judge: Mapping[str, Any]) -> VerdictLine | None:
        """What this judge answered to this request, whatever id it had then; None when no answer came."""
        return self._answers.get((_name(judge), request))

    def has(self, line: VerdictLine) -> bool:
        """Whether this question's answer to this request of this judge is written."""
        return (_name(line.judge), line.request, line.id) in self._ids

    @contextmanager
    def open(self) -> Iterator[None]:
        """Ready for `add`. What a killed process left of its last line is cut off."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as self._file:
                end = _whole_lines(self._path.read_bytes())
                if end < self._path.stat().st_size:
                    self._file.truncate(end)
                yield
        except OSError as error:
            raise storage_error(self._path, error) from error

    def add(self, line: VerdictLine) -> None:
        """Write a verdict down, at once."""
        self._file.write((to_json(asdict(line)) + "\n").encode())
        self._file.flush()
        self._keep(line)

    def _keep(self, line: VerdictLine) -> None:
        if line.failure != NO_ANSWER:
            judge = _name(line.judge)
            self._answers[judge, line.request] = line
            self._ids.add((judge, line.request, line.id))


def read_verdict_lines(path: Path) -> list[VerdictLine]:
    """The verdicts of a file, in order, without a last line that is not whole. Raises StoreError when it cannot be read
    or is not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read the verdicts {path}: {error.strerror or error}.") from error
    remedy = "Give a verdicts.jsonl as `proxygold eval` writes it, or remove the line: its question is asked again."
    rows = iterate_jsonl(path, content[: _whole_lines(content)], _FIELDS, _FIELDS, remedy)
    return [VerdictLine(**row) for row in rows]


def _whole_lines(content: bytes) -> int:
    """The bytes up to the end of the last whole line."""
    return content.rfind(b"\n") + 1


def _name(judge: Mapping[str, Any]) -> str:
    return json.dumps(judge, sort_keys=True)
