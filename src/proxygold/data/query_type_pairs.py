"""Two labellings of the same queries side by side: what was written, and a column of it or another file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxygold.data.annotation import Conversation, read_conversations
from proxygold.data.files import RejectedRow, column_names, source_format
from proxygold.data.source_settings import SourceSettings
from proxygold.errors import DataError
from proxygold.records import QUERY_TYPE_ALIASES

__all__ = ["LabelPairs", "is_file_name", "other_labelling", "pair_labels"]

OtherLabels = dict[tuple[tuple[str, str], ...], str]


@dataclass(slots=True)
class LabelPairs:
    """The labels of the n queries that both have one, and how many queries lack one of the two."""

    ours: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)
    unpaired: int = 0


def is_file_name(other: str) -> bool:
    """Whether `other` names a data file rather than a column."""
    try:
        source_format(Path(other))
    except DataError:
        return False
    return True


def other_labelling(other: str, source: Path | SourceSettings) -> OtherLabels | str:
    """What to compare with: the labels by query of another file, or a column of the data by name.

    To be called before anything is paid for. Raises DataError when it is not there or has no label.
    """
    if not is_file_name(other):
        columns = column_names(source) if isinstance(source, Path) else None
        if columns is not None and other not in columns:
            raise DataError(
                f"{source} has no column {other!r} to compare with; it has {', '.join(columns)}. "
                "Another labelling is given by its column, or by its file (.jsonl, .jsonl.gz, .parquet)."
            )
        return other
    labels: OtherLabels = {}
    for item in read_conversations(Path(other)):
        if isinstance(item, RejectedRow):
            continue
        row, turns = item
        label = _label(row.values.get("query_type"))
        if label is not None and labels.setdefault(_key(turns), label) != label:
            raise DataError(f"{other}:{row.line} gives a query another type than a line before. Give each query one.")
    if not labels:
        raise DataError(
            f"no row of {other} has a prompt and a query_type ({', '.join(QUERY_TYPE_ALIASES)}) to compare with."
        )
    return labels


def pair_labels(written: Path, name: str, other: OtherLabels | str) -> LabelPairs:
    """The labels under `name` in the file that was written, each with its other one.

    Raises DataError when no query has both.
    """
    pairs = LabelPairs()
    for item in read_conversations(written):
        if isinstance(item, RejectedRow):
            continue
        row, turns = item
        ours = _label(row.values.get(name))
        theirs = _label(row.values.get(other)) if isinstance(other, str) else other.get(_key(turns))
        if ours is None or theirs is None:
            pairs.unpaired += 1
        else:
            pairs.ours.append(ours)
            pairs.theirs.append(theirs)
    if not pairs.ours:
        what = f"column {other!r}" if isinstance(other, str) else "other file"
        raise DataError(
            f"{written} is written, but there is nothing to compare: none of its queries has a label in the {what}. "
            f"Labels are {', '.join(QUERY_TYPE_ALIASES)}."
        )
    return pairs


def _label(value: Any) -> str | None:
    return QUERY_TYPE_ALIASES.get(value) if isinstance(value, str) else None


def _key(turns: Conversation) -> tuple[tuple[str, str], ...]:
    return tuple((turn["role"], turn["content"].strip()) for turn in turns)
