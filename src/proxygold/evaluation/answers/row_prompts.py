"""What the rows of a file of answers are answers to: the names that its fields may have, and which prompt is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxygold.data.rows import prompt_from_row
from proxygold.errors import DataError
from proxygold.evaluation.answers.prompts import prompt_key
from proxygold.records import QUERY_TYPE_ALIASES, PromptRecord

__all__ = ["ID_FIELDS", "PROMPT_FIELDS", "PromptMatcher", "prompt_of_row"]

# Ours and AlpacaEval's; ours and a run's rollouts'; ours and that of the paper's released data.
PROMPT_FIELDS = ("prompt", "instruction")
ID_FIELDS = ("id", "prompt_id")
_TYPE_FIELDS = ("query_type", "qtype")


class PromptMatcher:
    """Tells which of some prompts a row answers."""

    def __init__(self, records: Sequence[PromptRecord]) -> None:
        self._by_key = {prompt_key(record.prompt): place for place, record in enumerate(records)}
        self._by_id = {record.id: place for place, record in enumerate(records)}

    def place(self, row: Mapping[str, Any]) -> int | None:
        """The place of the prompt among the records, None when it is none of them.

        What a row says was asked decides, and its id only when it does not say.
        """
        if first_of(row, PROMPT_FIELDS) is None:
            return self._by_id.get(str(first_of(row, ID_FIELDS)))
        record = prompt_of_row(row)
        return None if record is None else self._by_key.get(prompt_key(record.prompt))


def prompt_of_row(row: Mapping[str, Any]) -> PromptRecord | None:
    """What a row of answers says was asked, with its id ("" without one) and its query type if it is one.

    None when it does not say, or not in a form that can be read.
    """
    kind = next((row[name] for name in _TYPE_FIELDS if row.get(name) in QUERY_TYPE_ALIASES), None)
    values = {"prompt": first_of(row, PROMPT_FIELDS), "id": first_of(row, ID_FIELDS), "query_type": kind}
    try:
        record = prompt_from_row(values, "")
    except DataError:
        return None
    return PromptRecord(record.id, record.prompt, None, record.query_type)


def first_of(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of these fields that is there."""
    return next((row[name] for name in names if row.get(name) is not None), None)
