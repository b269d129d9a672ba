"""Preference data: a prompt with a better and a worse answer, read from a data file.

Two forms are read. Explicit: `prompt` (text, or a list of messages), `chosen` and `rejected` (text, or a
list of messages that ends with the assistant's). Dialogues: `chosen` and `rejected` alone, each a whole
conversation as Anthropic's HH data set was published; `hh.py` takes those apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proxygold.data.files import RejectedRow, read_rows
from proxygold.data.hh import parse_hh
from proxygold.data.rows import ROLES
from proxygold.errors import DataError
from proxygold.records import Message

__all__ = ["PreferencePair", "parse_preference", "read_preferences"]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """One comparison. `prompt` ends with the turn that both answers answer; `source` says where it is from.

    `place` is the file and line that it was read from, for messages; two pairs that differ in it alone are equal.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str = ""
    place: str = field(default="", compare=False)


def read_preferences(path: str | Path) -> Iterator[PreferencePair | RejectedRow]:
    """The pairs of a JSONL or Parquet file, one at a time, in order.

    A row that cannot be used comes as a `RejectedRow`, so that the caller can count it, list it or stop. The
    `source` of a pair is the row's own `source`, else the file's name. Raises DataError as `read_rows` does.
    """
    path = Path(path)
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            yield row
            continue
        try:
            yield replace(parse_preference(row.values, source=path.name), place=f"{path}:{row.line}")
        except DataError as error:
            yield RejectedRow(path, row.line, str(error))


def parse_preference(row: Mapping[str, Any], *, source: str = "") -> PreferencePair:
    """One row of either form as a pair. Raises DataError with what is wrong with it."""
    missing = [name for name in ("chosen", "rejected") if row.get(name) in (None, "", [])]
    if missing:
        raise DataError(f"missing or empty field {missing[0]!r}; the row has: {', '.join(map(str, row)) or 'nothing'}")
    source = str(row.get("source") or source)
    chosen, rejected = row["chosen"], row["rejected"]
    if row.get("prompt") in (None, "", []):
        if isinstance(chosen, list) and isinstance(rejected, list):
            prompt, chosen, rejected = _split_messages(_messages(chosen, "chosen"), _messages(rejected, "rejected"))
        else:
            prompt, chosen, rejected = parse_hh(_text(chosen, "chosen"), _text(rejected, "rejected"))
    else:
        prompt = _messages(row["prompt"], "prompt")
        chosen, rejected = _answer(chosen, "chosen"), _answer(rejected, "rejected")
    if chosen.strip() == rejected.strip():
        raise DataError("chosen and rejected are the same text, so nothing is preferred")
    if not chosen.strip() or not rejected.strip():
        raise DataError("an answer is empty")
    return PreferencePair(tuple(prompt), chosen, rejected, source)


def _messages(value: Any, field: str) -> list[Message]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise DataError(f"{field!r} must be text or a list of messages, this is {_kind(value)}")
    messages: list[Message] = []
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise DataError(f'every message of {field!r} needs text under "content" and a "role"')
        if message.get("role") not in ROLES:
            raise DataError(f"{field!r} has a message of role {message.get('role')!r}; allowed: {', '.join(ROLES)}")
        messages.append({"role": str(message["role"]), "content": message["content"]})
    return messages


def _answer(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    messages = _messages(value, field)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise DataError(f"{field!r} beside a prompt must be text or one assistant message")
    return messages[0]["content"]


def _split_messages(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], str, str]:
    """Two whole conversations that differ in their last turn alone: what they share, and the two last turns."""
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise DataError("without a prompt, chosen and rejected must share every message but the last")
    if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
        raise DataError("the last message of chosen and of rejected must be the assistant's")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{field!r} must be text, this is {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
