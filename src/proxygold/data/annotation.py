"""Labels for the rows of a data file: a row in, the same row with what an annotator says of its query out.

Query types (`query_types.py`, `query_type_llm.py`) and reference answers (`references.py`) are such labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxygold.data.files import RejectedRow, Row, column_names, file_format, read_rows
from proxygold.data.prompt_sets import published_rows
from proxygold.data.published import fitting_forms, get_form
from proxygold.data.rows import prompt_from_row
from proxygold.data.source_settings import SourceSettings
from proxygold.data.writing import RowWriter, open_writer, schema_for, schema_of
from proxygold.errors import DataError, StoreError
from proxygold.records import Message, Prompt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "AnnotationSummary",
    "Annotator",
    "Conversation",
    "Label",
    "Unlabelled",
    "annotate_file",
    "conversation",
    "has_label",
    "last_query",
    "read_conversations",
    "start_annotation",
]

# Rows annotated together: enough for batches and for a hundred requests at a time, few enough to hold.
_CHUNK = 1024

Conversation = list[Message]


@dataclass(frozen=True, slots=True)
class Label:
    """What an annotator gives a query: its type, or an answer. A type may have the `probability` of open-ended."""

    value: str
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """No label was found. `kind`: refusal, unparseable answer or no answer; `answer`: what was said, if anything."""

    kind: str
    reason: str
    answer: str | None = None


class Annotator(Protocol):
    """Gives n conversations (each ending with a query of the user's) n labels."""

    # The fields beside the label that it adds, by suffix: `probability`, `reason`.
    adds: tuple[str, ...]
    # Whether the field may be there already. It is then filled where it is missing, null or blank.
    fills: bool

    def label(self, conversations: Sequence[Conversation]) -> Sequence[Label | Unlabelled]: ...


def conversation(prompt: Prompt) -> Conversation:
    """A prompt as messages, up to the user's last. Raises DataError when the user asks nothing in it.

    >>> conversation("Why?")
    [{'role': 'user', 'content': 'Why?'}]
    """
    turns = [Message(role="user", content=prompt)] if isinstance(prompt, str) else prompt
    asked = [place for place, turn in enumerate(turns, start=1) if turn["role"] == "user"]
    if not asked:
        raise DataError("prompt has no message of the user's, so nothing is asked in it")
    turns = turns[: asked[-1]]
    if not turns[-1]["content"].strip():
        raise DataError("the last query of the user is empty")
    return turns


def last_query(turns: Conversation) -> str:
    """The query that is asked: the text of the last message."""
    return turns[-1]["content"].strip()


def read_conversations(source: Path | SourceSettings) -> Iterator[tuple[Row, Conversation] | RejectedRow]:
    """The rows of a file, or of a data set with our names for its fields, with their conversations. Streaming.

    Raises DataError as `read_rows` and `published_rows` do.
    """
    for row in read_rows(source) if isinstance(source, Path) else _published(source):
        if isinstance(row, RejectedRow):
            yield row
            continue
        try:
            # Of the row's other fields nothing is asked, not even a query type that is there already.
            others = {name: value for name, value in row.values.items() if name not in ("reference", "query_type")}
            yield row, conversation(prompt_from_row(others, default_id="").prompt)
        except DataError as error:
            looks = fitting_forms(row.values) if isinstance(source, Path) and "prompt" not in row.values else []
            hint = f"; it looks like one of {' or '.join(looks)}: say so with --form {looks[0]}" if looks else ""
            yield RejectedRow(source if isinstance(source, Path) else str(source), row.line, f"{error}{hint}")


def _published(settings: SourceSettings) -> Iterator[Row | RejectedRow]:
    """The rows of a data set, but for those that its form takes for copies."""
    copies = None if settings.form is None else get_form(settings.form).copies
    seen: set[Hashable] = set()
    for row in published_rows(settings):
        if isinstance(row, RejectedRow):
            yield row
            continue
        if copies is not None:
            if (key := copies(row.values)) in seen:
                yield RejectedRow(row.place, row.line, "a copy of one before")
                continue
            seen.add(key)
        yield Row(row.line, dict(row.values))


@dataclass(slots=True)
class AnnotationSummary:
    """What was written. Rows without a label are in `written` with null, and listed in `unlabelled_file`.

    Rows that could not be read at all are in `rejected_file` alone. `labels` counts the labels that were given; of an
    annotator that fills it counts `written`, and `kept` for the rows that had one before.
    """

    written: Path
    rejected_file: Path
    unlabelled_file: Path
    labels: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    first_rejected: list[RejectedRow] = field(default_factory=list)
    first_unlabelled: list[str] = field(default_factory=list)


def annotate_file(
    source: Path | SourceSettings,
    target: Path,
    annotator: Annotator,
    *,
    name: str = "query_type",
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda rows: None,
) -> AnnotationSummary:
    """Add a label to every row of `source` under `name`, into `target`; `advance` is told rows done.

    A data set is written with our own names for its fields, so that a study reads the result as it is.

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
                missing = [not (annotator.fills and has_label(row, name)) for row in rows]
                asked = [turns for (_, turns), wanted in zip(usable, missing, strict=True) if wanted]
                found = iter(annotator.label(asked))
                labels = [next(found) if wanted else None for wanted in missing]
                writer.write([_labelled(row, label, name) for row, label in zip(rows, labels, strict=True)])
                list_in(summary.unlabelled_file, _count(summary, source, rows, labels, annotator.fills))
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
    source: Path | SourceSettings,
    target: Path,
    annotator: Annotator,
    *,
    name: str = "query_type",
    overwrite: bool = False,
) -> AnnotationSummary:
    """Everything that can be refused before any row is annotated, and paid for. Raises as `annotate_file`."""
    file_format(target)
    summary = AnnotationSummary(
        target,
        target.with_name(target.name + ".rejected.jsonl"),
        target.with_name(target.name + ".unlabelled.jsonl"),
    )
    if isinstance(source, Path) and source.resolve() == target.resolve():
        raise StoreError(f"{target} is the data itself. Give another file to write to.")
    if not overwrite:
        for path in (target, summary.rejected_file, summary.unlabelled_file):
            if path.exists():
                raise StoreError(f"{path} exists already. Give another name, or --force to write over it.")
    _check_free(source, name, annotator, set(column_names(source) or () if isinstance(source, Path) else ()))
    return summary


def has_label(row: Row, name: str) -> bool:
    """Whether a row has something in the field `name`: not null, not blank text."""
    value = row.values.get(name)
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _check_free(source: Path | SourceSettings, name: str, annotator: Annotator, columns: set[str]) -> None:
    added = () if annotator.fills else (name, *(f"{name}_{suffix}" for suffix in annotator.adds))
    taken = [column for column in added if column in columns]
    if taken:
        raise DataError(
            f"{source} has a field {taken[0]!r} already. Give the new one another name, such as --name {name}_2."
        )


def _count(
    summary: AnnotationSummary,
    source: Path | SourceSettings,
    rows: Sequence[Row],
    labels: Sequence[Label | Unlabelled | None],
    fills: bool,
) -> list[Mapping[str, Any]]:
    """Add a chunk to the summary; the records of the list of rows without a label."""
    listed: list[Mapping[str, Any]] = []
    for row, label in zip(rows, labels, strict=True):
        if not isinstance(label, Unlabelled):
            summary.labels["kept" if label is None else "written" if fills else label.value] += 1
            continue
        summary.unlabelled[label.kind] += 1
        record = {"file": str(source), "line": row.line, "kind": label.kind, "reason": label.reason}
        listed.append(record | ({} if label.answer is None else {"answer": label.answer}))
        if len(summary.first_unlabelled) < 5:
            summary.first_unlabelled.append(f"{source}:{row.line}: {label.kind}: {label.reason}")
    return listed


def _labelled(row: Row, label: Label | Unlabelled | None, name: str) -> Mapping[str, Any]:
    if label is None:
        return row.values
    if isinstance(label, Unlabelled):
        return {**row.values, name: None, f"{name}_reason": f"{label.kind}: {label.reason}"}
    probability = {} if label.probability is None else {f"{name}_probability": label.probability}
    return {**row.values, name: label.value, **probability}


def _schema(
    source: Path | SourceSettings, target: Path, rows: Sequence[Row], name: str, annotator: Annotator
) -> pa.Schema | None:
    """For a Parquet target, the data's own columns and the added ones."""
    if file_format(target) != "parquet":
        return None
    import pyarrow as pa

    values = [row.values for row in rows]
    schema = schema_for(source, values) if isinstance(source, Path) else schema_of([], values, [], str(source))
    added = {name: pa.string()} | {
        f"{name}_{suffix}": pa.float64() if suffix == "probability" else pa.string() for suffix in annotator.adds
    }
    for column, kind in added.items():
        if column not in schema.names:
            schema = schema.append(pa.field(column, kind))
    return schema
