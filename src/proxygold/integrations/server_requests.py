"""What came in a request, as examples; and what is wrong in it, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proxygold.data.rows import example_from_row
from proxygold.errors import DataError
from proxygold.records import Example
from proxygold.rewards.runtime import Reward

__all__ = ["mistakes", "read_examples"]

# What a field of a wrong type should be, by pydantic's name for the mistake.
_NEEDED = {
    "list_type": "a list is needed",
    "string_type": "text is needed",
    "string_unicode": "whole Unicode characters are needed",
    "dict_type": "an object is needed",
}


def read_examples(rows: Sequence[Mapping[str, Any]], reward: Reward) -> list[Example]:
    """The examples that n rows stand for.

    Raises DataError when a row is malformed, or when a column that the reward requires is in none of them. A row that
    lacks what others have gets no score, as in a data file.
    """
    columns = dict.fromkeys(name for row in rows for name in row)
    if rows and (missing := sorted(reward.required_columns - columns.keys())):
        raise DataError(
            f"the reward {reward} needs {' and '.join(missing)}, and the examples have only {', '.join(columns)}. "
            "Add what is missing, or serve a reward that does without."
        )
    examples = []
    for place, row in enumerate(rows):
        try:
            _check_characters(row)
            examples.append(example_from_row(row))
        except DataError as error:
            raise DataError(f"examples[{place}]: {error}") from error
    return examples


def mistakes(errors: Sequence[Any]) -> str:
    """What pydantic found in a body, said as the rest of proxygold says it; the first five."""
    return "; ".join(_mistake(error) for error in errors[:5]) + ". /docs shows the form."


def _check_characters(row: Mapping[str, Any]) -> None:
    """JSON can spell half of a character (\\ud800), which no tokenizer takes and no answer could repeat."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"a text has {error.object[error.start]!a}, half of a character; whole Unicode characters are needed"
        ) from error
    except RecursionError as error:
        raise DataError("lists or objects are nested too deeply") from error


def _mistake(error: Any) -> str:
    kind, place, given = error["type"], list(error["loc"][1:]), error.get("input")
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    if kind == "json_invalid":
        return f"the body is not JSON: {error['ctx']['error']} at character {place[0]}"
    if not name:
        return "the body is missing or no JSON object. Send one, with the header Content-Type: application/json"
    if kind == "missing":
        return f"the field {name} is missing"
    if kind == "extra_forbidden":
        return f"there is no field {name} here"
    shown = ascii(given)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return f"{name} is {type(given).__name__} {shown}; {_NEEDED.get(kind, error['msg'])}"
