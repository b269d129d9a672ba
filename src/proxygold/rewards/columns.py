"""Columns, as trainers and data sets hold them, to examples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from proxygold.errors import RewardError
from proxygold.records import Example, Prompt
from proxygold.templates import message_text

__all__ = ["Completion", "completion_text", "examples_from_columns"]

# A text, or the messages of a conversational completion.
Completion = str | Sequence[Mapping[str, Any]]

_NAMED = ("reference", "query_type")


def examples_from_columns(
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    columns: Mapping[str, Any],
    required: Collection[str] = (),
) -> list[Example]:
    """n examples from n prompts, n completions and columns of n entries; what is no such column is left out.

    A column is a list, or anything else with a length and an order: a tuple, an array of numpy, Arrow or pandas, a
    column of a data set. Its entries become Python values.

    Raises RewardError when a required column is missing, is no column, or has another length.
    """
    n, completed = _checked_length("prompt", prompts), _checked_length("completion", completions)
    if completed != n:
        raise RewardError(f"{n} prompts came with {completed} completions; each prompt needs one.")
    missing = sorted(set(required) - columns.keys())
    if missing:
        given = ", ".join(["prompt", "completion", *columns])
        raise RewardError(
            f"this reward needs the column{'s' if len(missing) > 1 else ''} {' and '.join(missing)}, and the data "
            f"has: {given}. Add what is missing to the data, or choose a reward that does without."
        )
    for name in required:
        if (length := _checked_length(name, columns[name])) != n:
            raise RewardError(f"the column {name} has {length} entries for {n} prompts.")
    by_row = {name: _entries(values) for name, values in columns.items() if _length(values) == n}
    references, query_types = (_without_nan(by_row.pop(name, [None] * n)) for name in _NAMED)
    return [
        Example(
            prompt=prompt,
            completion=completion_text(completion),
            reference=None if references[row] is None else completion_text(references[row]),
            query_type=query_types[row],
            columns={name: values[row] for name, values in by_row.items()},
        )
        for row, (prompt, completion) in enumerate(zip(_entries(prompts), _entries(completions), strict=True))
    ]


def _checked_length(name: str, values: object) -> int:
    length = _length(values)
    if length is None:
        raise RewardError(
            f"the column {name} is {type(values).__name__}, which has no entry for each prompt. Give a list."
        )
    return length


def _length(values: Any) -> int | None:
    """How many entries a column has; None for what is no column: a text, a mapping, a set, one value."""
    if isinstance(values, str | bytes | bytearray | Mapping) or not hasattr(values, "__getitem__"):
        return None
    try:
        return len(values)
    except TypeError:  # an array of no dimension
        return None


def _entries(values: Any) -> list[Any]:
    # Never by position: a pandas Series would look its labels up.
    return [_python_value(value) for value in values]


def _python_value(value: Any) -> Any:
    if hasattr(value, "as_py"):  # an Arrow scalar
        return value.as_py()
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a scalar of numpy or torch
        return value.item()
    return value


def _without_nan(texts: list[Any]) -> list[Any]:
    """None for NaN, which pandas has in place of a missing text."""
    return [None if isinstance(text, float) and math.isnan(text) else text for text in texts]


def completion_text(completion: Completion) -> str:
    r"""The text of a completion: itself, or what the assistant says in a list of messages, joined by a newline.

    Raises RewardError for anything else.

    >>> completion_text([{"role": "assistant", "content": "In Norway."}])
    'In Norway.'
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, list | tuple) or not all(isinstance(turn, Mapping) for turn in completion):
        raise RewardError(f"a completion or reference is {type(completion).__name__}; a text or messages are needed.")
    return "\n".join(message_text(turn) for turn in completion if turn.get("role") == "assistant")
