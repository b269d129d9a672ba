"""Scoring one chunk of rows, wherever that is done: here, in a worker, or on another machine.

Three fields are added to a row, called after `name`: `reward`, `reward_parts` (the value of each node of the reward, by
its text) and, where there is no score, `reward_reason`. A value that could not be computed is null.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.data.files import RejectedRow, Row, parse_rows
from proxygold.data.rows import example_from_row
from proxygold.data.sources import Chunk, Position
from proxygold.data.writing import encode_rows
from proxygold.errors import DataError
from proxygold.records import Example, Scored
from proxygold.rewards.runtime import Reward

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ChunkScorer", "ScoredChunk", "Tally", "UsableRow", "added_fields", "field_taken", "read_chunk"]

# So many of what went wrong are told one by one, and so many reasons are counted.
_FIRST = 5
_REASONS = 100


@dataclass(frozen=True, slots=True)
class UsableRow:
    """A row, the example in it, and where it is from."""

    path: Path | str
    row: Row
    example: Example


@dataclass(slots=True)
class Tally:
    """How many rows got a score, how many none and why, and how many were rejected.

    `first_not_scored` and `first_rejected` say where and why, for the first few.
    """

    scored: int = 0
    not_scored: int = 0
    rejected: int = 0
    first_not_scored: list[tuple[str, int]] = field(default_factory=list)
    first_rejected: list[RejectedRow] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add what came after."""
        self.scored += other.scored
        self.not_scored += other.not_scored
        self.rejected += other.rejected
        self.first_not_scored += other.first_not_scored[: _FIRST - len(self.first_not_scored)]
        self.first_rejected += other.first_rejected[: _FIRST - len(self.first_rejected)]
        for reason, times in other.reasons.items():
            if reason in self.reasons or len(self.reasons) < _REASONS:  # a user's feature may give each row its own
                self.reasons[reason] += times

    def to_record(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        rejected = [[str(row.path), row.line, row.reason] for row in self.first_rejected]
        counts = {name: getattr(self, name) for name in ("scored", "not_scored", "rejected")}
        return counts | {
            "first_not_scored": [list(place) for place in self.first_not_scored],
            "first_rejected": rejected,
            "reasons": dict(self.reasons),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Tally:
        return cls(
            scored=record["scored"],
            not_scored=record["not_scored"],
            rejected=record["rejected"],
            first_not_scored=[(path, line) for path, line in record["first_not_scored"]],
            first_rejected=[RejectedRow(*row) for row in record["first_rejected"]],
            reasons=Counter(record["reasons"]),
        )


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """What becomes of a chunk: its rows as bytes of the target, and of the list of rejected ones."""

    rows: bytes
    rejected: bytes
    tally: Tally
    end: Position
    lines: int


@dataclass(frozen=True)
class ChunkScorer:
    """All that is needed to score a chunk, but for the reward. It goes to other processes.

    - `target`: the file that the rows are for; its name says the format, and messages name it.
    - `name`: what the added fields are called.
    - `strict`: whether a row without a score is a DataError.
    - `schema`: the columns of a Parquet target, the added ones among them.
    """

    target: Path
    name: str
    strict: bool
    schema: pa.Schema | None = None

    def score(self, chunk: Chunk, reward: Reward) -> ScoredChunk:
        """Score a chunk. Raises DataError for a row that does not fit the target, and under `strict`."""
        usable, rejected = read_chunk(chunk)
        taken = [field_taken(row.row.values, self.name) for row in usable]
        rejected += [
            RejectedRow(row.path, row.row.line, f"has {why}")
            for row, why in zip(usable, taken, strict=True)
            if why is not None
        ]
        usable = [row for row, why in zip(usable, taken, strict=True) if why is None]
        tally = Tally(rejected=len(rejected))
        rows = b""
        if usable:
            scored = reward.score([row.example for row in usable])
            self._count(tally, usable, scored)
            values = [self._with_scores(row.row, scored, index) for index, row in enumerate(usable)]
            rows = encode_rows(self.target, values, [row.row.line for row in usable], self.schema)
        order = {str(raw.path): number for number, raw in enumerate(chunk.pieces)}
        rejected.sort(key=lambda row: (order[str(row.path)], row.line))
        tally.first_rejected = rejected[:_FIRST]
        listed = [{"file": str(row.path), "line": row.line, "reason": row.reason} for row in rejected]
        return ScoredChunk(rows, encode_rows(Path(".jsonl"), listed), tally, chunk.end, len(chunk))

    def _count(self, tally: Tally, usable: Sequence[UsableRow], scored: Scored) -> None:
        for row, reason in zip(usable, scored.reasons, strict=True):
            if reason is None:
                tally.scored += 1
                continue
            if self.strict:
                raise DataError(
                    f"{row.path}:{row.row.line} cannot be scored: {reason}. Mend it, or let it be null with "
                    "on_error=nan."
                )
            tally.add(Tally(not_scored=1, first_not_scored=[(str(row.path), row.row.line)], reasons=Counter([reason])))

    def _with_scores(self, row: Row, scored: Scored, index: int) -> Mapping[str, Any]:
        total, parts, why = added_fields(self.name)
        values = {
            **row.values,
            total: _or_none(scored.total[index]),
            parts: {text: _or_none(part[index]) for text, part in scored.parts.items()},
        }
        if (reason := scored.reasons[index]) is not None:
            values[why] = reason
        return values


def read_chunk(chunk: Chunk) -> tuple[list[UsableRow], list[RejectedRow]]:
    """The rows of a chunk that can be used, and the others."""
    usable: list[UsableRow] = []
    rejected: list[RejectedRow] = []
    for raw in chunk.pieces:
        for row in parse_rows(raw):
            if isinstance(row, RejectedRow):
                rejected.append(row)
                continue
            try:
                usable.append(UsableRow(raw.path, row, example_from_row(row.values)))
            except DataError as error:
                rejected.append(RejectedRow(raw.path, row.line, str(error)))
    return usable, rejected


def added_fields(name: str) -> tuple[str, str, str]:
    """What the added fields are called."""
    return name, f"{name}_parts", f"{name}_reason"


def field_taken(fields: Mapping[str, Any] | Sequence[str], name: str) -> str | None:
    """Of a row with one of the fields to be added, which: what it says there must not be written over."""
    for added in added_fields(name):
        if added in fields:
            return f"a field {added!r} already. Give the new ones another name, such as --name {name}_2"
    return None


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
