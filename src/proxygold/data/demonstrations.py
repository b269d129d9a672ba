"""Demonstrations: prompts with the answer that a model shall learn to give, read from rows of several forms.

    prompt + completion, reference or chosen    the answer is text, or one assistant message
    messages                                    a conversation that ends with the assistant's turn
    chosen                                      the same, as messages or as a dialogue in HH's published form

A row that has several answers (a scored file has `completion` and `reference`) is used once it is said which.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from proxygold.data.builtin import builtin_prompts
from proxygold.data.files import RejectedRow, parse_rows
from proxygold.data.hh import parse_dialogue
from proxygold.data.prompt_sets import PublishedRow, published_rows
from proxygold.data.published import PUBLISHED, Role, fitting_forms
from proxygold.data.rows import ROLES
from proxygold.data.source_settings import BUILTIN, SourceSettings, parse_source
from proxygold.data.sources import find_sources
from proxygold.errors import DataError
from proxygold.records import Message

__all__ = ["ANSWERS", "AnswerColumn", "Demonstration", "parse_demonstration", "read_demonstrations"]

AnswerColumn = Literal["completion", "reference", "chosen", "messages"]
ANSWERS: tuple[AnswerColumn, ...] = get_args(AnswerColumn)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt, which ends with the turn to be answered, and its answer.

    `place` is the file and line that it was read from, for messages; two that differ in it alone are equal.
    """

    prompt: tuple[Message, ...]
    answer: str
    place: str = field(default="", compare=False)


def read_demonstrations(
    given: Sequence[SourceSettings | Mapping[str, Any] | str | Path],
    *,
    answers: AnswerColumn | None = None,
    role: Role = "train",
    limit: int | None = None,
) -> Iterator[Demonstration | RejectedRow]:
    """The demonstrations of files, directories, patterns, hub data sets and known ones, in their order.

    At most `limit` in all. A known data set is read from where it is published, or in its published form, and its
    reference answers are learnt: of HH the chosen responses, of UltraFeedback the best ones. A row that cannot be used
    comes as a `RejectedRow`. `answers` is the column that holds the answer; None: the only one of `ANSWERS` that a row
    has. Raises DataError when a source cannot be read, ConfigError for one that makes no sense.
    """
    sources = [parse_source(str(item) if isinstance(item, Path) else item) for item in given]
    # All that are missing, before the first is read.
    find_sources([_place(settings) for settings in sources if settings.place not in (BUILTIN, *PUBLISHED)])
    found = 0
    for settings in sources:
        of_this = 0
        for row in _rows(settings, answers, role):
            yield row
            if isinstance(row, Demonstration):
                found, of_this = found + 1, of_this + 1
            if found == limit:
                return
            if of_this == settings.limit:
                break


def _rows(settings: SourceSettings, answers: AnswerColumn | None, role: Role) -> Iterator[Demonstration | RejectedRow]:
    if settings.place == BUILTIN:
        for record in builtin_prompts("train" if (settings.split or role) == "train" else "validation"):
            if record.reference is not None:
                values = {"prompt": record.prompt, "reference": record.reference}
                yield parse_demonstration(values, place=f"{BUILTIN} {record.id}")
        return
    known = settings.form is not None or bool(settings.fields)
    copies = None if settings.form is None else PUBLISHED[settings.form].copies
    seen: set[Hashable] = set()
    for row in published_rows(settings, role) if known else _as_they_are(settings):
        if isinstance(row, RejectedRow):
            yield row
            continue
        if copies is not None:
            if (key := copies(row.values)) in seen:
                continue
            seen.add(key)
        column = answers or ("reference" if known else None)
        try:
            yield parse_demonstration(row.values, answers=column, place=f"{row.place}:{row.line}")
        except DataError as error:
            yield RejectedRow(row.place, row.line, str(error))


def _as_they_are(settings: SourceSettings) -> Iterator[PublishedRow | RejectedRow]:
    for source in find_sources([_place(settings)]):
        for raw in source.read(0, 512):
            for row in parse_rows(raw):
                if isinstance(row, RejectedRow):
                    yield row
                else:
                    yield PublishedRow(row.values, source.name, row.line, f"line-{row.line}")


def _place(settings: SourceSettings) -> str:
    return settings.place if settings.split is None else f"{settings.place}:{settings.split}"


def parse_demonstration(
    row: Mapping[str, Any], *, answers: AnswerColumn | None = None, place: str = ""
) -> Demonstration:
    """One row as a demonstration. Raises DataError with what is wrong with it."""
    column = _column(row, answers)
    value = row[column]
    if column == "messages" or (column == "chosen" and _absent(row, "prompt")):
        conversation = _dialogue(value, column)
    else:
        if _absent(row, "prompt"):
            raise DataError(f"there is {column} but no prompt; the row has {', '.join(map(str, row))}")
        prompt = row["prompt"]
        opening: list[Message] = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _messages(prompt, "prompt")
        )
        conversation = [*opening, *_answer(value, column)]
    if conversation[-1]["role"] != "assistant":
        raise DataError(f"{column} does not end with the assistant's turn, so there is no answer to learn")
    if len(conversation) < 2 or conversation[-2]["role"] == "assistant":
        raise DataError("there is no turn before the answer that it could answer")
    if not conversation[-1]["content"].strip():
        raise DataError("the answer is empty")
    return Demonstration(tuple(conversation[:-1]), conversation[-1]["content"], place)


def _column(row: Mapping[str, Any], answers: AnswerColumn | None) -> AnswerColumn:
    present = [name for name in ANSWERS if not _absent(row, name)]
    if answers is not None:
        if answers not in present:
            raise DataError(f"missing or empty field {answers!r}; the row has {', '.join(map(str, row)) or 'nothing'}")
        return answers
    if not present:
        forms = fitting_forms(row)
        hint = f". It looks like one of {' or '.join(forms)}: data='{{source: …, name: {forms[0]}}}'" if forms else ""
        raise DataError(
            f"there is no answer: none of the fields {', '.join(ANSWERS)}; "
            f"the row has {', '.join(map(str, row)) or 'nothing'}{hint}"
        )
    if len(present) > 1:
        raise DataError(f"{' and '.join(present)} could each be the answer; say which one to learn (--answers)")
    return present[0]


def _absent(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return value is None or (isinstance(value, str | list | tuple) and not value)


def _dialogue(value: Any, name: str) -> list[Message]:
    return parse_dialogue(value) if isinstance(value, str) and name == "chosen" else _messages(value, name)


def _answer(value: Any, name: str) -> list[Message]:
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    messages = _messages(value, name)
    if len(messages) != 1:
        raise DataError(f"{name} beside a prompt must be text or one assistant message, this has {len(messages)}")
    return messages


def _messages(value: Any, name: str) -> list[Message]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise DataError(f"{name} is {type(value).__name__}; a list of messages is needed")
    messages: list[Message] = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise DataError(f"message {number} of {name} needs a role and text under content")
        if message.get("role") not in ROLES:
            raise DataError(
                f"the role of message {number} of {name} is {message.get('role')!r}; allowed: {', '.join(ROLES)}"
            )
        messages.append({"role": str(message["role"]), "content": message["content"]})
    return messages
