"""Pairs of answers to test a reward on: a prompt, the better answer, the worse one, and what a reward may need beside.

The rows are RewardBench's (`id, prompt, chosen, rejected, subset`), with `reference` and `query_type` where there are
any. Other preference data is read too: answers as messages, whole conversations, the dialogues of Anthropic's HH.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proxygold.data.files import RejectedRow, Row, parse_rows
from proxygold.data.preferences import parse_preference
from proxygold.data.rows import prompt_from_row
from proxygold.data.sources import find_sources
from proxygold.errors import DataError
from proxygold.evaluation.answers.prompts import EvaluationPrompts, with_types
from proxygold.evaluation.reward_bench.pair_references import PairReferences
from proxygold.records import Example, Prompt, PromptRecord

__all__ = ["PairSet", "TestPair", "read_pairs"]

_ROWS = 512
# What a row may have instead of a subset: the project's own preference files name where a pair is from.
_SUBSET = ("subset", "source")
_ANSWERS = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class TestPair:
    """One pair. `place` is its file and line; `reference_refused` says why a reference that was given is not used."""

    __test__ = False  # the name begins as those that pytest collects do

    id: str
    prompt: Prompt
    chosen: str
    rejected: str
    subset: str
    reference: str | None = None
    query_type: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    reference_refused: str | None = None

    def examples(self) -> tuple[Example, Example]:
        """The better and the worse answer, as a reward scores them. Neither sees the other."""
        return (
            Example(self.prompt, self.chosen, self.reference, self.query_type, self.columns),
            Example(self.prompt, self.rejected, self.reference, self.query_type, self.columns),
        )


@dataclass(frozen=True, slots=True)
class PairSet:
    """The pairs in order, and the rows that are none."""

    pairs: Sequence[TestPair]
    rejected: Sequence[RejectedRow] = ()


def read_pairs(
    data: Sequence[str | Path],
    references: Path | None = None,
    limit: int | None = None,
    query_types: str | None = None,
) -> PairSet:
    """The pairs of files, directories, patterns or data sets of the hub, at most the first `limit`.

    `references`: a file with reference answers or query types, by `id` or by `prompt`; they come before a row's own.
    `query_types`: `local` gives a type to every pair without one, by the classifier that ships.
    An id that came before, as in several files, gets its place added. A pair whose reference is its chosen answer keeps
    none: any reward that compares with the reference would be told which answer is the better one.

    Raises DataError when a source is missing or cannot be read, or when no row is a pair, ConfigError for another word
    as `query_types`.
    """
    found = PairReferences.read(references) if references else None
    pairs: list[TestPair] = []
    rejected: list[RejectedRow] = list(found.rejected) if found else []
    ids: Counter[str] = Counter()
    for row, name in _rows(data):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        try:
            pair = _parse(row, name)
        except DataError as error:
            rejected.append(RejectedRow(name, row.line, str(error)))
            continue
        ids[pair.id] += 1
        if ids[pair.id] > 1:
            pair = replace(pair, id=f"{pair.id} at {pair.place}")
        pairs.append(_without_leak(found.complete(pair) if found else pair))
        if len(pairs) == limit:
            break
    if not pairs:
        first = f" The first row that is none: {rejected[0]}" if rejected else ""
        raise DataError(
            f"there is no pair in {', '.join(map(str, data))}. A pair has prompt, chosen and rejected.{first}"
        )
    prompts = EvaluationPrompts([PromptRecord(pair.id, pair.prompt, None, pair.query_type) for pair in pairs])
    typed = with_types(prompts, query_types).records
    pairs = [replace(pair, query_type=record.query_type) for pair, record in zip(pairs, typed, strict=True)]
    return PairSet(pairs, rejected)


def _rows(data: Sequence[str | Path]) -> Iterator[tuple[Row | RejectedRow, str]]:
    for source in find_sources(data):
        for raw in source.read(0, _ROWS):
            for row in parse_rows(raw):
                yield row, source.name


def _parse(row: Row, name: str) -> TestPair:
    values = row.values
    whole = all(isinstance(values.get(answer), list) and len(values[answer]) > 1 for answer in _ANSWERS)
    if whole or values.get("prompt") in (None, "", []):
        # Whole conversations, which repeat the prompt.
        preference = parse_preference({answer: values.get(answer) for answer in _ANSWERS})
        values = {**values, "prompt": list(preference.prompt)}
        chosen, rejected = preference.chosen, preference.rejected
    else:
        chosen, rejected = (_answer(values, answer) for answer in _ANSWERS)
    if chosen.strip() == rejected.strip():
        raise DataError("chosen and rejected are the same text, so nothing is preferred")
    record = prompt_from_row(values, f"line-{row.line}")
    subset = next((str(values[key]) for key in _SUBSET if values.get(key)), _file_subset(name))
    # Not `chosen` and `rejected`: a feature that saw them would be told the outcome.
    columns = {key: value for key, value in record.columns.items() if key not in _ANSWERS}
    return TestPair(
        record.id,
        record.prompt,
        chosen,
        rejected,
        subset,
        record.reference,
        record.query_type,
        columns,
        f"{name}:{row.line}",
    )


def _file_subset(name: str) -> str:
    """`helpful-base/test` of `hh/helpful-base/test.jsonl.gz`: many data sets name all their files alike."""
    path = Path(name)
    return "/".join((*path.parts[-2:-1], path.name.partition(".")[0]))


def _answer(values: Mapping[str, Any], name: str) -> str:
    """An answer as text; an empty one is an answer too."""
    answer = values.get(name)
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], Mapping):
        answer = answer[0].get("content")
    if not isinstance(answer, str):
        has = ", ".join(map(str, values)) or "nothing"
        what = "is missing" if name not in values else "is no text and no one message of the assistant's"
        raise DataError(f"{name} {what}; the row has: {has}")
    return answer


def _without_leak(pair: TestPair) -> TestPair:
    if pair.reference is None or _plain(pair.reference) != _plain(pair.chosen):
        return pair
    return replace(pair, reference=None, reference_refused="the reference given is the chosen answer itself")


def _plain(text: str) -> str:
    """Without what does not tell one answer from another: case, and how it is spaced."""
    return " ".join(text.casefold().split())
