"""Columns, as trainers and data sets hold them, to examples."""

from __future__ import annotations

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

    Raises RewardError when a required column is missing or has another length.
    """
    n = len(prompts)
    if len(completions) != n:
        raise RewardError(f"{n} prompts came with {len(completions)} completions; each prompt needs one.")
    missing = sorted(set(required) - columns.keys())
    if missing:
        given = ", ".join(["prompt", "completion", *columns])
        raise RewardError(
            f"this reward needs the column{'s' if len(missing) > 1 else ''} {' and '.join(missing)}, and the data "
            f"has: {given}. Add what is missing to the data, or choose a reward that does without."
        )
    for name in required:
        if len(columns[name]) != n:
            raise RewardError(f"the column {name} has {len(columns[name])} entries for {n} prompts.")
    by_row = {name: values for name, values in columns.items() if isinstance(values, list | tuple) and len(values) == n}
    references, query_types = (by_row.pop(name, [None] * n) for name in _NAMED)
    return [
        Example(
            prompt=prompts[row],
            completion=completion_text(completions[row]),
            reference=None if references[row] is None else completion_text(references[row]),
            query_type=query_types[row],
            columns={name: values[row] for name, values in by_row.items()},
        )
        for row in range(n)
    ]


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
