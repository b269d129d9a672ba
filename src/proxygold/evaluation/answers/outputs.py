"""Answers that exist already: a file of whatever benchmark or program wrote it, read as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxygold.data.files import RejectedRow, read_rows
from proxygold.errors import DataError

__all__ = ["COMPLETION_FIELDS", "GivenOutputs", "completion_of", "read_outputs"]

# Where files of answers have the answer: AlpacaEval's, ours, others'. The first that is there and is text counts.
COMPLETION_FIELDS = ("output", "completion", "response", "prediction", "text")

_LISTED = 8


@dataclass(frozen=True, slots=True)
class GivenOutputs:
    """The rows of one file, in order. `rejected` are those that are no JSON object, with their lines.

    `lines` are where `rows` stand in the file: lines of JSONL, places in an array or a table, from 1.
    """

    name: str
    path: Path
    about: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    rejected: Sequence[RejectedRow] = ()
    lines: Sequence[int] = field(default=(), repr=False)

    def by(self, field: str) -> dict[str, Mapping[str, Any]]:
        """The row of each value of `field`, as text. Rows without it are left out.

        Raises DataError when no row has the field, naming the fields there are, and when two rows have the same value.
        """
        grouped = self.grouped(field)
        for value, rows in grouped.items():
            if len(rows) > 1:
                raise DataError(
                    f"{self.path} has {len(rows)} rows whose {field} is {_shortened(value)!r}. Keep one answer to each."
                )
        return {value: rows[0] for value, rows in grouped.items()}

    def grouped(self, field: str) -> dict[str, list[Mapping[str, Any]]]:
        """The rows of each value of `field`, where one prompt may have several answers. Raises DataError as `by`."""
        grouped: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.rows:
            if row.get(field) is not None:
                grouped.setdefault(str(row[field]), []).append(row)
        if not grouped:
            raise DataError(f"no row of {self.path} has the field {field!r}; they have {', '.join(self.fields())}.")
        return grouped

    def fields(self) -> list[str]:
        """The fields that rows have, those of the first row first."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def without_answer(self) -> list[RejectedRow]:
        """The rows that hold no answer as text, with the reason; none of a file that has answers in another form."""
        if all(completion_of(row) is None for row in self.rows):
            return []
        lines = self.lines or range(1, len(self.rows) + 1)
        return [
            RejectedRow(self.path, line, f"no answer: none of {', '.join(COMPLETION_FIELDS)} is a text")
            for line, row in zip(lines, self.rows, strict=True)
            if completion_of(row) is None
        ]


def completion_of(row: Mapping[str, Any]) -> str | None:
    """The answer that a row holds, None when it has none.

    >>> completion_of({"instruction": "Name a color.", "output": "Red."})
    'Red.'
    """
    for name in COMPLETION_FIELDS:
        if isinstance(row.get(name), str):
            return str(row[name])
    return None


def read_outputs(path: Path, name: str | None = None) -> GivenOutputs:
    """The rows of a JSON array (`.json`, `.json.gz`), JSONL (`.jsonl`, `.gz`, `.zst`) or Parquet file.

    Raises DataError when it cannot be read, or has no row that is an object.
    """
    found = list(read_rows(path))
    rows = [row for row in found if not isinstance(row, RejectedRow)]
    rejected = [row for row in found if isinstance(row, RejectedRow)]
    if not rows:
        listed = "; ".join(str(row) for row in rejected[:_LISTED])
        raise DataError(f"{path} has no row that can be read: {listed}")
    about = {"outputs": str(path), "rows": len(rows), "rejected": len(rejected)}
    return GivenOutputs(
        name or path.name, path, about, [row.values for row in rows], rejected, [row.line for row in rows]
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"
