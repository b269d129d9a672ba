"""Sets of prompts, read from wherever `SourceSettings` says, in whatever form they were published."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from proxygold.data.builtin import builtin_prompts
from proxygold.data.files import RejectedRow, Row, parse_rows
from proxygold.data.published import PUBLISHED, PublishedForm, Role, fitting_forms
from proxygold.data.rows import prompt_from_row
from proxygold.data.source_settings import BUILTIN, SourceSettings, parse_source
from proxygold.data.sources import Source, find_sources
from proxygold.errors import DataError
from proxygold.records import PromptRecord

__all__ = ["PromptSet", "PublishedRow", "published_rows", "read_prompt_set"]

# Rows that are read at a time.
_ROWS = 512


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts, in the order of their rows, and what was left out.

    `repeated` counts the rows that the data set's form takes for copies of one before; they are not listed.
    """

    records: tuple[PromptRecord, ...]
    rejected: tuple[RejectedRow, ...] = ()
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A row with our own names for its fields, from `line` of `place`; `default_id` is an id for want of one."""

    values: Mapping[str, Any]
    place: str
    line: int
    default_id: str


def read_prompt_set(settings: SourceSettings | str, role: Role = "train", limit: int | None = None) -> PromptSet:
    """The prompts of one source. `limit` counts beside the source's own; the lower one holds.

    A row without an `id` gets its line as `line-7`, and in the second of several files `2-line-7`. An id that came
    before is a reason to reject. Raises DataError for a source that is missing or cannot be read, and when none of its
    rows can be used; ConfigError for a split that the data set does not have.
    """
    settings = parse_source(settings)
    limits = [number for number in (settings.limit, limit) if number is not None]
    most = min(limits, default=None)
    if settings.place == BUILTIN:
        split = settings.split or ("train" if role == "train" else "validation")
        return PromptSet(tuple(builtin_prompts("train" if split == "train" else "validation")[:most]))
    records: dict[str, PromptRecord] = {}
    rejected: list[RejectedRow] = []
    seen: set[Hashable] = set()
    repeated = 0
    form = _form(settings)
    for row in published_rows(settings, role):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        try:
            record = prompt_from_row(row.values, row.default_id)
        except DataError as error:
            rejected.append(RejectedRow(row.place, row.line, str(error)))
            continue
        if record.id in records:
            rejected.append(RejectedRow(row.place, row.line, f"the id {record.id!r} came before"))
            continue
        if form is not None and form.copies is not None:
            if (key := form.copies(row.values)) in seen:
                repeated += 1
                continue
            seen.add(key)
        records[record.id] = record
        if len(records) == most:
            break
    if not records and not rejected:
        raise DataError(f"{settings} is empty. Give a source with at least one row.")
    if not records:
        raise DataError(f"no row of {settings} can be used. The first: {rejected[0]}")
    return PromptSet(tuple(records.values()), tuple(rejected), repeated)


def published_rows(settings: SourceSettings | str, role: Role = "train") -> Iterator[PublishedRow | RejectedRow]:
    """The rows of a source, streaming, by our own names for fields: `prompt`, `reference`, `query_type`, `id`, others.

    Raises DataError and ConfigError as `read_prompt_set` does. The built-in prompts are not read so.
    """
    settings = parse_source(settings)
    form = _form(settings)
    sources = _sources(settings, form, role)
    for number, source in enumerate(sources, start=1):
        for raw in source.read(0, _ROWS):
            for row in parse_rows(raw):
                if isinstance(row, RejectedRow):
                    yield row
                    continue
                default = f"line-{row.line}" if len(sources) == 1 else f"{number}-line-{row.line}"
                try:
                    yield PublishedRow(_convert(row, settings, form), source.name, row.line, default)
                except DataError as error:
                    yield RejectedRow(source.name, row.line, str(error))


def _form(settings: SourceSettings) -> PublishedForm | None:
    return None if settings.form is None else PUBLISHED[settings.form]


def _sources(settings: SourceSettings, form: PublishedForm | None, role: Role) -> list[Source]:
    if form is not None and settings.place in PUBLISHED:
        return find_sources(form.sources(settings.split, role))
    place = settings.place if settings.split is None else f"{settings.place}:{settings.split}"
    try:
        return find_sources([place])
    except DataError as error:
        # A word without a dot or a slash may be a data set whose name is not spelt right.
        known = (BUILTIN, *PUBLISHED)
        near = get_close_matches(place, known, n=1) if re.fullmatch(r"\w+", place) else []
        if near and not Path(place).exists():
            raise DataError(f"{error} Or did you mean the data set {near[0]!r}? Known: {', '.join(known)}.") from error
        raise


def _convert(row: Row, settings: SourceSettings, form: PublishedForm | None) -> Mapping[str, Any]:
    values: Mapping[str, Any] = row.values
    if missing := [column for column in settings.fields.values() if column not in values]:
        raise DataError(f"there is no column {missing[0]!r}, which `fields` names; the row has {', '.join(values)}")
    mapped = {field: values[column] for field, column in settings.fields.items()}
    if form is not None:
        return {**form.convert(values), **mapped}
    if "prompt" not in values and "prompt" not in mapped and (names := fitting_forms(values)):
        raise DataError(
            f"there is no prompt; the row (with {', '.join(values)}) looks like one of {' or '.join(names)}. Write "
            f"{{source: {settings.place}, name: {names[0]}}}, or say which column is the prompt: fields: {{prompt: …}}"
        )
    taken = set(settings.fields.values())
    return {**{name: value for name, value in values.items() if name not in taken}, **mapped}
