"""Rows to examples and prompts: what is taken, what is kept, and what is said about a row that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxygold.data.files import RejectedRow
from proxygold.data.rows import example_from_row, read_examples
from proxygold.errors import DataError
from proxygold.records import Example

GOOD = {"prompt": "Where is Oslo?", "completion": "In Norway."}


def test_a_row_with_everything() -> None:
    row = {**GOOD, "reference": "Norway.", "query_type": "closed_ended", "source": "atlas", "n": 3}
    assert example_from_row(row) == Example(
        "Where is Oslo?", "In Norway.", "Norway.", "closed_ended", {"source": "atlas", "n": 3}
    )


def test_a_row_with_the_least() -> None:
    assert example_from_row({**GOOD, "reference": None}) == Example("Where is Oslo?", "In Norway.")


@pytest.mark.parametrize(
    ("label", "meaning"),
    [("OPENENDED", "open_ended"), ("CONSTRAINED", "closed_ended"), ("open_ended", "open_ended"), (None, None)],
)
def test_query_types_and_the_labels_of_the_paper(label: str | None, meaning: str | None) -> None:
    assert example_from_row({**GOOD, "query_type": label}).query_type == meaning


def test_messages_are_kept() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye", "name": "x"},
    ]
    prompt = example_from_row({**GOOD, "prompt": messages}).prompt
    assert prompt == [{"role": message["role"], "content": message["content"]} for message in messages]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": None}, "prompt is null"),
        ({"prompt": 7}, "prompt is int 7; text or a list of messages is needed"),
        ({"prompt": []}, r"prompt is list \[\]"),
        ({"prompt": ["hi"]}, "message 1 of prompt is str 'hi'"),
        ({"prompt": [{"role": "human", "content": "x"}]}, "role of message 1 of prompt is 'human'; allowed: system"),
        ({"prompt": [{"role": "user", "content": None}]}, "content of message 1 of prompt is NoneType"),
        ({"completion": ["a"]}, r"completion is list \['a'\]; text is needed"),
        ({"reference": 1.5}, "reference is float 1.5"),
        ({"query_type": "open"}, "query_type is str 'open'; allowed: open_ended, closed_ended, OPENENDED"),
    ],
)
def test_a_field_of_the_wrong_kind(change: dict[str, object], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        example_from_row({**GOOD, **change})


def test_a_missing_field_is_named_with_what_there_is() -> None:
    with pytest.raises(DataError, match=r"field completion is missing \(did you mean 'completions' by it\?\)"):
        example_from_row({"prompt": "x", "completions": "y"})
    with pytest.raises(DataError, match="field prompt is missing; the row has text, completion"):
        example_from_row({"text": "x", "completion": "y"})


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_bad_rows_of_a_file_come_with_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [GOOD, "oops", {"prompt": "x"}, GOOD])
    found = list(read_examples(path))
    assert [item.line if isinstance(item, RejectedRow) else item[0].line for item in found] == [1, 2, 3, 4]
    assert [type(item) for item in found] == [tuple, RejectedRow, RejectedRow, tuple]
    assert str(found[2]) == f"{path}:3: the field completion is missing; the row has prompt"
