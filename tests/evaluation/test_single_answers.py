"""Which row of a file of answers belongs to which item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.outputs import GivenOutputs, read_outputs
from proxygold.evaluation.answers.single_answers import check_baseline, match_answers

ITEMS: list[dict[str, str | None]] = [
    {"id": "1", "prompt": "Why?", "group": "a"},
    {"id": "2", "prompt": "Why?", "group": "b"},
    {"id": "3", "prompt": "Who?", "group": None},
]
WAYS = (("id",), ("group", "prompt"), ("prompt",))


def given(path: Path, *rows: dict[str, Any]) -> GivenOutputs:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_outputs(path)


def test_rows_are_told_by_the_first_way_that_finds_one(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    by_id = given(file, {"id": 2, "output": "two", "prompt": "Who?"}, {"id": "9", "output": "nobody's"})
    assert match_answers(by_id, ITEMS, WAYS) == [None, "two", None]
    # Ids of something else find nothing; group and prompt do, but for the item that has no group.
    rows = [{"id": "row-1", "group": "b", "prompt": " Why?\n", "output": "b"}, {"prompt": "Who?", "output": "w"}]
    assert match_answers(given(file, *rows), ITEMS, WAYS) == [None, "b", None]


def test_one_prompt_of_two_items(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    who = {"prompt": "Who?", "output": "w"}
    both = given(file, {"prompt": "Why?", "output": "x"}, who, {"prompt": "Why?", "output": "y"})
    assert match_answers(both, ITEMS, WAYS) == ["x", "y", "w"]  # in order
    assert match_answers(given(file, {"prompt": "Why?", "output": "x"}), ITEMS, WAYS) == ["x", "x", None]
    # More rows than items: they have to agree.
    same = given(file, *[{"prompt": "Who?", "output": "w"}] * 3)
    assert match_answers(same, ITEMS, WAYS) == [None, None, "w"]
    with pytest.raises(DataError, match="has 2 rows for 'Who\\?', whose answers differ. Keep one answer to each"):
        match_answers(given(file, who, who | {"output": "v"}), ITEMS, WAYS)


def test_rows_of_another_benchmark(tmp_path: Path) -> None:
    other = given(tmp_path / "m.jsonl", {"question": "Why?", "output": "x"}, {"prompt": "How?", "output": "x"})
    with pytest.raises(
        DataError,
        match=r"no row of .*m.jsonl belongs to an item of this benchmark. Rows are told by id, or by group and prompt, or "
        r"by prompt; these have question, output, prompt\.",
    ):
        match_answers(other, ITEMS, WAYS)


def test_the_baseline_is_one_of_those_evaluated(tmp_path: Path) -> None:
    subjects = [given(tmp_path / "m.jsonl", {"id": "1"})]
    check_baseline(None, subjects)
    check_baseline("m.jsonl", subjects)
    with pytest.raises(ConfigError, match=r"--baseline is 'n', which is not evaluated here. Give one of m\.jsonl"):
        check_baseline("n", subjects)
