"""Scoring a data file: a row at a time in, the same row with its reward out, in constant memory.

Three fields are added, called after `name`: `reward`, `reward_parts` (the value of each node of the reward, by its
text) and, where there is no score, `reward_reason`. A value that could not be computed is null.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.data.files import RejectedRow, Row, column_names, file_format
from proxygold.data.rows import read_examples
from proxygold.data.writing import RowWriter, open_writer, schema_for
from proxygold.errors import DataError, StoreError
from proxygold.records import Example, Scored
from proxygold.rewards.runtime import Reward

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CALIBRATION_ROWS", "ScoreSummary", "calibrate_on_file", "score_file"]

# Rows scored together: enough to batch texts of one length, few enough to hold.
_CHUNK = 2048
CALIBRATION_ROWS = 2048

_Read = tuple[Row, Example] | RejectedRow


@dataclass(slots=True)
class ScoreSummary:
    """What was written. `reasons` counts why rows have no score; `rejected` rows are in `rejected_file` instead."""

    written: Path
    rejected_file: Path
    scored: int = 0
    not_scored: int = 0
    rejected: int = 0
    first_not_scored: list[int] = field(default_factory=list)
    first_rejected: list[RejectedRow] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


def score_file(
    source: Path,
    target: Path,
    reward: Reward,
    *,
    name: str = "reward",
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
) -> ScoreSummary:
    """Score every row of `source` into `target`, which appears whole or not at all; `advance` is told rows done.

    Rows that cannot be used (a malformed line, a missing field) are left out and written to `TARGET.rejected.jsonl`,
    with their line and the reason.

    Raises DataError when no row can be used, or when the data lacks a column that the reward requires or has one of
    those to be added; RewardError when the reward has a `match` that was not measured; StoreError when `target` exists
    and `overwrite` is false, or cannot be written. With the reward's `on_error="raise"`, a row without a score is a
    DataError too.
    """
    file_format(target)
    reward.score([])  # refuses here, before anything is read, if the reward has a `match` to be measured
    summary = ScoreSummary(target, target.with_name(target.name + ".rejected.jsonl"))
    if source.resolve() == target.resolve():
        raise StoreError(f"{target} is the data itself. Give another file to write to.")
    if not overwrite:
        for path in (summary.written, summary.rejected_file):
            if path.exists():
                raise StoreError(f"{path} exists already. Give another name, or --force to write over it.")
    _check_columns(source, reward, name, column_names(source))

    strict, reward = reward.settings.on_error == "raise", _tolerant(reward)
    chunks = _chunks(read_examples(source))
    with ExitStack() as outputs:
        writer: RowWriter | None = None
        rejects: RowWriter | None = None
        for chunk in chunks:
            usable = [item for item in chunk if not isinstance(item, RejectedRow)]
            rejected = [item for item in chunk if isinstance(item, RejectedRow)]
            if usable:
                if writer is None:
                    # What the first rows have stands for all: a row further on that lacks a field gets no score.
                    _check_columns(source, reward, name, list({key for row, _ in usable for key in row.values}))
                    writer = outputs.enter_context(open_writer(target, _schema(source, target, usable, name)))
                scored = reward.score([example for _, example in usable])
                _count(summary, source, usable, scored, strict)
                writer.write([_with_scores(row, scored, index, name) for index, (row, _) in enumerate(usable)])
            if rejected:
                if rejects is None:
                    rejects = outputs.enter_context(open_writer(summary.rejected_file))
                rejects.write([{"file": str(row.path), "line": row.line, "reason": row.reason} for row in rejected])
                summary.rejected += len(rejected)
                summary.first_rejected += rejected[: 5 - len(summary.first_rejected)]
            advance(len(chunk))
        if writer is None:
            listed = "\n".join(f"  {row}" for row in summary.first_rejected)
            raise DataError(f"none of the {summary.rejected} rows of {source} can be used. The first:\n{listed}")
    if not summary.rejected:
        summary.rejected_file.unlink(missing_ok=True)  # of an earlier run that is written over
    return summary


def calibrate_on_file(reward: Reward, path: Path) -> Reward:
    """`reward` with every `match` measured on the first completions of a file (at most `CALIBRATION_ROWS`)."""
    usable = (example for _, example in _without_rejects(read_examples(path)))
    return reward.calibrate(list(islice(usable, CALIBRATION_ROWS)))


def _without_rejects(items: Iterator[_Read]) -> Iterator[tuple[Row, Example]]:
    return (item for item in items if not isinstance(item, RejectedRow))


def _chunks(items: Iterator[_Read]) -> Iterator[list[_Read]]:
    while chunk := list(islice(items, _CHUNK)):
        yield chunk


def _tolerant(reward: Reward) -> Reward:
    """The same reward with NaN for what fails: only here is it known which line that is."""
    return Reward(reward.tree, replace(reward.settings, on_error="nan"))


def _added(name: str) -> tuple[str, str, str]:
    return name, f"{name}_parts", f"{name}_reason"


def _check_columns(source: Path, reward: Reward, name: str, columns: list[str] | None) -> None:
    if columns is None:
        return
    if taken := [column for column in _added(name) if column in columns]:
        raise DataError(
            f"{source} has a field {taken[0]!r} already. Give the new ones another name, such as --name {name}_2."
        )
    if missing := sorted(reward.required_columns - set(columns)):
        raise DataError(
            f"the reward {reward} needs {' and '.join(missing)}, and {source} has only {', '.join(sorted(columns))}. "
            "Add what is missing to the data, or choose a reward that does without."
        )


def _count(
    summary: ScoreSummary, source: Path, usable: list[tuple[Row, Example]], scored: Scored, strict: bool
) -> None:
    for (row, _), reason in zip(usable, scored.reasons, strict=True):
        if reason is None:
            summary.scored += 1
            continue
        if strict:
            raise DataError(
                f"{source}:{row.line} cannot be scored: {reason}. Mend it, or let it be null with on_error=nan."
            )
        summary.not_scored += 1
        if len(summary.first_not_scored) < 5:
            summary.first_not_scored.append(row.line)
        if reason in summary.reasons or len(summary.reasons) < 100:  # a user's feature may give each row its own
            summary.reasons[reason] += 1


def _with_scores(row: Row, scored: Scored, index: int, name: str) -> Mapping[str, Any]:
    total, parts, why = _added(name)
    values = {
        **row.values,
        total: _or_none(scored.total[index]),
        parts: {text: _or_none(part[index]) for text, part in scored.parts.items()},
    }
    if (reason := scored.reasons[index]) is not None:
        values[why] = reason
    return values


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _schema(source: Path, target: Path, usable: list[tuple[Row, Example]], name: str) -> pa.Schema | None:
    """For a Parquet target, the data's own columns and the three added ones."""
    if file_format(target) != "parquet":
        return None
    import pyarrow as pa

    schema = schema_for(source, [row.values for row, _ in usable])
    types = (pa.float64(), pa.map_(pa.string(), pa.float64()), pa.string())
    for column, kind in zip(_added(name), types, strict=True):
        schema = schema.append(pa.field(column, kind))
    return schema
