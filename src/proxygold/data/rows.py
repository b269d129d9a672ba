"""From a row of a data file to a record: the fields `prompt`, `completion`, `reference` and `query_type`.

Every other field is kept in `columns`, for a user's own features. A field of the wrong type is a DataError
whose message is the reason alone; who reads the file knows the line.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxygold.data.files import RejectedRow, Row, read_rows
from proxygold.errors import DataError
from proxygold.records import QUERY_TYPE_ALIASES, Example, Message, Prompt, PromptRecord

__all__ = ["ROLES", "example_from_row", "prompt_from_row", "read_examples"]

_FIELDS = frozenset({"prompt", "completion", "reference", "query_type"})
ROLES = ("system", "user", "assistant", "tool")


def example_from_row(values: Mapping[str, Any]) -> Example:
    """The example that a row holds: `prompt` and `completion`, and if there are any `reference` and `query_type`.

    Raises DataError when a field is missing or has the wrong type.
    """
    completion = _required(values, "completion")
    return Example(
        prompt=_prompt(values),
        completion=_text(completion, "completion"),
        reference=_reference(values),
        query_type=_query_type(values),
        columns=_columns(values, _FIELDS),
    )


def prompt_from_row(values: Mapping[str, Any], default_id: str) -> PromptRecord:
    """The prompt that a row holds. Its `id` is the row's own where it has one, else `default_id`."""
    given = values.get("id")
    return PromptRecord(
        id=default_id if given is None else str(given),
        prompt=_prompt(values),
        reference=_reference(values),
        query_type=_query_type(values),
        columns=_columns(values, (_FIELDS - {"completion"}) | {"id"}),
    )


def read_examples(path: Path) -> Iterator[tuple[Row, Example] | RejectedRow]:
    """The rows of a file with their examples, streaming. Raises DataError as `read_rows` does."""
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            yield row
            continue
        try:
            yield row, example_from_row(row.values)
        except DataError as error:
            yield RejectedRow(path, row.line, str(error))


def _prompt(values: Mapping[str, Any]) -> Prompt:
    prompt = _required(values, "prompt")
    if isinstance(prompt, str):
        return _text(prompt, "prompt")
    if not isinstance(prompt, Sequence) or not prompt:
        raise DataError(f"prompt is {_shown(prompt)}; text or a list of messages is needed")
    return [_message(message, position) for position, message in enumerate(prompt, start=1)]


def _message(message: object, position: int) -> Message:
    if not isinstance(message, Mapping):
        raise DataError(f"message {position} of prompt is {_shown(message)}; an object with role and content is needed")
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise DataError(f"the role of message {position} of prompt is {role!r}; allowed: {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise DataError(f"the content of message {position} of prompt is {_shown(content)}; text is needed")
    return Message(role=role, content=content)


def _reference(values: Mapping[str, Any]) -> str | None:
    reference = values.get("reference")
    return None if reference is None else _text(reference, "reference")


def _query_type(values: Mapping[str, Any]) -> str | None:
    label = values.get("query_type")
    if label is None:
        return None
    if not isinstance(label, str) or label not in QUERY_TYPE_ALIASES:
        raise DataError(f"query_type is {_shown(label)}; allowed: {', '.join(QUERY_TYPE_ALIASES)}, or none")
    return QUERY_TYPE_ALIASES[label]


def _required(values: Mapping[str, Any], name: str) -> Any:
    if values.get(name) is not None:
        return values[name]
    if name in values:
        raise DataError(f"{name} is null")
    close = difflib.get_close_matches(name, values, n=1)
    hint = f" (did you mean {close[0]!r} by it?)" if close else ""
    raise DataError(f"the field {name} is missing{hint}; the row has {', '.join(values) or 'none'}")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{name} is {_shown(value)}; text is needed")
    return value


def _columns(values: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in known}


def _shown(value: object) -> str:
    """What was given, short enough for a message."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
