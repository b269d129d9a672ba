"""One answer to each item of a benchmark: of a model, or out of a file of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.outputs import GivenOutputs, completion_of
from proxygold.evaluation.answers.subjects import AnyProgress, Request, Subject, no_progress

__all__ = ["NOT_GIVEN", "NO_ROOM", "SingleAnswers", "check_baseline", "match_answers", "single_answers"]

# Why items are not scored.
NO_ROOM = "without room for an answer"
NOT_GIVEN = "without an answer in the file"


@dataclass(frozen=True, slots=True)
class SingleAnswers:
    """`texts`: an answer for each item, None where there is none; `left_out` counts these by reason."""

    texts: Sequence[str | None]
    left_out: Mapping[str, int]


def single_answers(
    subject: Subject | GivenOutputs,
    requests: Callable[[], Sequence[Request]],
    items: Sequence[Mapping[str, str | None]],
    ways: Sequence[tuple[str, ...]],
    file: Path,
    *,
    seed: int = 0,
    progress: AnyProgress = no_progress,
) -> SingleAnswers:
    """The answers of a model to `requests()`, written to `file` as they come, or those of the rows that `items` find.

    `requests` is called for a model only: items of which nothing is known but how they are told cannot be asked.
    `items`, `ways`: as for `match_answers`.
    """
    if isinstance(subject, GivenOutputs):
        texts = match_answers(subject, items, ways)
        reason = NOT_GIVEN
        progress(len(items))
    else:
        answers = subject.answer(requests(), file, seed=seed, progress=progress)
        texts = [drawn[0].text if drawn else None for drawn in answers]
        reason = NO_ROOM
    missing = texts.count(None)
    return SingleAnswers(texts, {reason: missing} if missing else {})


def check_baseline(baseline: str | None, subjects: Sequence[Subject | GivenOutputs]) -> None:
    """Raises ConfigError when the baseline is none of the subjects: before anything is answered."""
    names = [subject.name for subject in subjects]
    if baseline is not None and baseline not in names:
        raise ConfigError(f"--baseline is {baseline!r}, which is not evaluated here. Give one of {', '.join(names)}.")


def match_answers(
    given: GivenOutputs, items: Sequence[Mapping[str, str | None]], ways: Sequence[tuple[str, ...]]
) -> list[str | None]:
    """The answer to each item, in order; None to one that has none.

    `ways`: sets of fields to tell an item by, the first choice first; the first counts whose fields the rows have and
    that finds an item at all. Items told by the same values (one prompt twice) take the rows that have them in order,
    or share the only one. White space around a value does not count.

    Raises DataError when no row belongs to any item, and for several rows of one item whose answers differ.
    """
    found: dict[tuple[str, ...], list[Mapping[str, object]]] = {}
    keys: list[tuple[str, ...] | None] = []
    for way in ways:
        found = _rows_by(given, way)
        keys = [_key(item, way) for item in items]
        if any(key in found for key in keys):
            break
    else:
        told = ", or by ".join(" and ".join(way) for way in ways)
        raise DataError(
            f"no row of {given.path} belongs to an item of this benchmark. Rows are told by {told}; these have "
            f"{', '.join(given.fields())}."
        )
    taken: dict[tuple[str, ...], int] = {}
    answers: list[str | None] = []
    for key in keys:
        rows = found.get(key, []) if key is not None else []
        place = taken.get(key, 0) if key is not None else 0
        answers.append(completion_of(rows[min(place, len(rows) - 1)]) if rows else None)
        if key is not None:
            taken[key] = place + 1
    for key, count in taken.items():
        several = found.get(key, [])
        if len(several) > count and len({completion_of(row) for row in several}) > 1:
            shown = ", ".join(value if len(value) <= 60 else f"{value[:57]}…" for value in key)
            raise DataError(
                f"{given.path} has {len(several)} rows for {shown!r}, whose answers differ. Keep one answer to each."
            )
    return answers


def _rows_by(given: GivenOutputs, way: tuple[str, ...]) -> dict[tuple[str, ...], list[Mapping[str, object]]]:
    rows: dict[tuple[str, ...], list[Mapping[str, object]]] = {}
    for row in given.rows:
        key = tuple(str(row[name]).strip() for name in way if row.get(name) is not None)
        if len(key) == len(way):
            rows.setdefault(key, []).append(row)
    return rows


def _key(item: Mapping[str, str | None], way: tuple[str, ...]) -> tuple[str, ...] | None:
    values = [item.get(name) for name in way]
    return None if None in values else tuple(str(value).strip() for value in values)
