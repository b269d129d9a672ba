"""Query types of the prompts in a data file: a row in, the same row with its `query_type` out.

The type T(x) of the paper says how a query is rewarded: open-ended, the answer can be relatively anything and creative;
closed-ended, it should be consistent and constrained. Who decides is an annotator: an LLM (`query_type_llm.py`), the
local classifier, or chance. Of a conversation it is the last query of the user that has a type.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxygold.data.files import RejectedRow, Row, column_names, file_format, read_rows
from proxygold.data.rows import prompt_from_row
from proxygold.data.writing import RowWriter, open_writer, schema_for
from proxygold.errors import ConfigError, DataError, StoreError
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, QUERY_TYPE_ALIASES, Message, Prompt

if TYPE_CHECKING:
    import pyarrow as pa

    from proxygold.models.query_type_classifier import QueryTypeClassifier

__all__ = [
    "AnnotationSummary",
    "Annotator",
    "Label",
    "LabelledQuery",
    "LocalAnnotator",
    "RandomAnnotator",
    "Unlabelled",
    "annotate_file",
    "conversation",
    "last_query",
    "read_conversations",
    "read_labelled_queries",
    "start_annotation",
]

# Rows annotated together: enough for batches and for a hundred requests at a time, few enough to hold.
_CHUNK = 1024

Conversation = list[Message]


@dataclass(frozen=True, slots=True)
class Label:
    """A query's type, and where the annotator has one the probability that it is open-ended."""

    query_type: str
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """No type was found. `kind`: refusal, unparseable answer or no answer; `answer`: what was said, if anything."""

    kind: str
    reason: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query and its type, to train on."""

    text: str
    query_type: str


class Annotator(Protocol):
    """Gives n conversations (each ending with a query of the user's) n labels."""

    # The fields beside the type that it adds, by suffix: `probability`, `reason`.
    adds: tuple[str, ...]

    def label(self, conversations: Sequence[Conversation]) -> Sequence[Label | Unlabelled]: ...


class RandomAnnotator:
    """The paper's ablation: open-ended with probability `share`, whatever is asked.

    A query has one type under one seed, wherever and however often it stands, as T(x) of any other annotator has.
    """

    adds: tuple[str, ...] = ()

    def __init__(self, share: float = 0.5, seed: int = 0) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"the share of open-ended queries is {share}. Give a number from 0 to 1.")
        self._share, self._seed = share, seed

    def label(self, conversations: Sequence[Conversation]) -> list[Label]:
        return [Label(OPEN_ENDED if self._draw(turns) < self._share else CLOSED_ENDED) for turns in conversations]

    def _draw(self, turns: Conversation) -> float:
        """Uniform in [0, 1), from a hash of the seed and the conversation."""
        digest = hashlib.sha256(repr((self._seed, [(turn["role"], turn["content"]) for turn in turns])).encode())
        return int.from_bytes(digest.digest()[:7]) / 2**56


class LocalAnnotator:
    """The local classifier, on the last query alone: what was said before it is not read."""

    adds: tuple[str, ...] = ("probability",)

    def __init__(self, classifier: QueryTypeClassifier) -> None:
        self._classifier = classifier

    def label(self, conversations: Sequence[Conversation]) -> list[Label]:
        odds = self._classifier.probabilities([last_query(turns) for turns in conversations])
        return [Label(OPEN_ENDED if p > 0.5 else CLOSED_ENDED, float(p)) for p in odds]


# --- conversations ----------------------------------------------------------------------------------------------------


def conversation(prompt: Prompt) -> Conversation:
    """A prompt as messages, up to the user's last. Raises DataError when the user asks nothing in it.

    >>> conversation("Why?")
    [{'role': 'user', 'content': 'Why?'}]
    """
    turns = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
    asked = [place for place, turn in enumerate(turns, start=1) if turn["role"] == "user"]
    if not asked:
        raise DataError("prompt has no message of the user's, so there is no query to type")
    turns = turns[: asked[-1]]
    if not turns[-1]["content"].strip():
        raise DataError("the last query of the user is empty")
    return turns


def last_query(turns: Conversation) -> str:
    """The query that has the type: the text of the last message."""
    return turns[-1]["content"].strip()


def read_conversations(path: Path) -> Iterator[tuple[Row, Conversation] | RejectedRow]:
    """The rows of a file with their conversations, streaming. Raises DataError as `read_rows` does."""
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            yield row
            continue
        try:
            # Of the row's other fields nothing is asked, not even a query type that is there already.
            others = {name: value for name, value in row.values.items() if name not in ("reference", "query_type")}
            yield row, conversation(prompt_from_row(others, default_id="").prompt)
        except DataError as error:
            yield RejectedRow(path, row.line, str(error))


def read_labelled_queries(path: Path, column: str = "query_type") -> tuple[list[LabelledQuery], list[RejectedRow]]:
    """The queries of a file with the types in `column`, and the rows that cannot be used.

    Raises DataError as `read_rows` does, and when no row can be used.
    """
    queries: list[LabelledQuery] = []
    rejected: list[RejectedRow] = []
    for item in read_conversations(path):
        if isinstance(item, RejectedRow):
            rejected.append(item)
            continue
        row, turns = item
        label = row.values.get(column)
        if isinstance(label, str) and label in QUERY_TYPE_ALIASES:
            queries.append(LabelledQuery(last_query(turns), QUERY_TYPE_ALIASES[label]))
        else:
            allowed = ", ".join(QUERY_TYPE_ALIASES)
            rejected.append(RejectedRow(path, row.line, f"{column} is {label!r:.40}; allowed: {allowed}"))
    if not queries:
        raise DataError(f"no row of {path} can be used. The first: {rejected[0]}")
    return queries, rejected


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class AnnotationSummary:
    """What was written. Rows without a type are in `written` with null, and listed in `unlabelled_file`.

    Rows that could not be read at all are in `rejected_file` alone.
    """

    written: Path
    rejected_file: Path
    unlabelled_file: Path
    types: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    first_rejected: list[RejectedRow] = field(default_factory=list)
    first_unlabelled: list[str] = field(default_factory=list)


def annotate_file(
    source: Path,
    target: Path,
    annotator: Annotator,
    *,
    name: str = "query_type",
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
) -> AnnotationSummary:
    """Add the type of every row of `source` under `name`, into `target`; `advance` is told rows done.

    The files appear whole or not at all. Raises DataError when no row can be used or there is a field `name` already,
    StoreError when `target` exists and `overwrite` is false or it cannot be written, and what the annotator raises.
    """
    summary = start_annotation(source, target, annotator, name=name, overwrite=overwrite)
    items = read_conversations(source)
    with ExitStack() as outputs:
        writer: RowWriter | None = None
        lists: dict[Path, RowWriter] = {}

        def list_in(path: Path, rows: list[Mapping[str, Any]]) -> None:
            if rows and path not in lists:
                lists[path] = outputs.enter_context(open_writer(path))
            if rows:
                lists[path].write(rows)

        while chunk := list(islice(items, _CHUNK)):
            usable = [item for item in chunk if not isinstance(item, RejectedRow)]
            rejected = [item for item in chunk if isinstance(item, RejectedRow)]
            if usable:
                rows = [row for row, _ in usable]
                if writer is None:
                    _check_free(source, name, annotator, {key for row in rows for key in row.values})
                    writer = outputs.enter_context(open_writer(target, _schema(source, target, rows, name, annotator)))
                labels = annotator.label([turns for _, turns in usable])
                writer.write([_labelled(row, label, name) for row, label in zip(rows, labels, strict=True)])
                list_in(summary.unlabelled_file, _count(summary, source, rows, labels))
            list_in(
                summary.rejected_file,
                [{"file": str(row.path), "line": row.line, "reason": row.reason} for row in rejected],
            )
            summary.rejected += len(rejected)
            summary.first_rejected += rejected[: 5 - len(summary.first_rejected)]
            advance(len(chunk))
        if writer is None:
            listed = "\n".join(f"  {row}" for row in summary.first_rejected)
            raise DataError(f"none of the {summary.rejected} rows of {source} can be used. The first:\n{listed}")
    for path in {summary.rejected_file, summary.unlabelled_file} - set(lists):
        path.unlink(missing_ok=True)  # of an earlier run that is written over
    return summary


def start_annotation(
    source: Path, target: Path, annotator: Annotator, *, name: str = "query_type", overwrite: bool = False
) -> AnnotationSummary:
    """Everything that can be refused before any row is annotated, and paid for. Raises as `annotate_file`."""
    file_format(target)
    summary = AnnotationSummary(
        target,
        target.with_name(target.name + ".rejected.jsonl"),
        target.with_name(target.name + ".unlabelled.jsonl"),
    )
    if source.resolve() == target.resolve():
        raise StoreError(f"{target} is the data itself. Give another file to write to.")
    if not overwrite:
        for path in (target, summary.rejected_file, summary.unlabelled_file):
            if path.exists():
                raise StoreError(f"{path} exists already. Give another name, or --force to write over it.")
    _check_free(source, name, annotator, set(column_names(source) or ()))
    return summary


def _check_free(source: Path, name: str, annotator: Annotator, columns: set[str]) -> None:
    taken = [column for column in (name, *(f"{name}_{added}" for added in annotator.adds)) if column in columns]
    if taken:
        raise DataError(
            f"{source} has a field {taken[0]!r} already. Give the new one another name, such as --name {name}_2."
        )


def _count(
    summary: AnnotationSummary, source: Path, rows: Sequence[Row], labels: Sequence[Label | Unlabelled]
) -> list[Mapping[str, Any]]:
    """Add a chunk to the summary; the records of the list of rows without a type."""
    listed: list[Mapping[str, Any]] = []
    for row, label in zip(rows, labels, strict=True):
        if isinstance(label, Label):
            summary.types[label.query_type] += 1
            continue
        summary.unlabelled[label.kind] += 1
        record = {"file": str(source), "line": row.line, "kind": label.kind, "reason": label.reason}
        listed.append(record | ({} if label.answer is None else {"answer": label.answer}))
        if len(summary.first_unlabelled) < 5:
            summary.first_unlabelled.append(f"{source}:{row.line}: {label.kind}: {label.reason}")
    return listed


def _labelled(row: Row, label: Label | Unlabelled, name: str) -> Mapping[str, Any]:
    if isinstance(label, Unlabelled):
        return {**row.values, name: None, f"{name}_reason": f"{label.kind}: {label.reason}"}
    probability = {} if label.probability is None else {f"{name}_probability": label.probability}
    return {**row.values, name: label.query_type, **probability}


def _schema(source: Path, target: Path, rows: Sequence[Row], name: str, annotator: Annotator) -> pa.Schema | None:
    """For a Parquet target, the data's own columns and the added ones."""
    if file_format(target) != "parquet":
        return None
    import pyarrow as pa

    schema = schema_for(source, [row.values for row in rows]).append(pa.field(name, pa.string()))
    for added in annotator.adds:
        schema = schema.append(pa.field(f"{name}_{added}", pa.float64() if added == "probability" else pa.string()))
    return schema
