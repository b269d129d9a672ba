"""Several answers to each prompt, found in files of whoever wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.outputs import GivenOutputs, read_outputs
from proxygold.evaluation.answers.prompts import read_prompts
from proxygold.evaluation.self_bleu.sampled_answers import asked_prompts, find_answers
from proxygold.records import PromptRecord

RED = PromptRecord("p1", "Name a color.", query_type="open_ended")
SUM = PromptRecord("p2", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}])


def outputs(tmp_path: Path, *rows: dict[str, Any]) -> GivenOutputs:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_outputs(path)


def test_answers_are_told_by_what_was_asked_or_by_the_id(tmp_path: Path) -> None:
    given = outputs(
        tmp_path,
        {"prompt": "Name a color.", "completion": "Red."},
        {"id": "p2", "completion": "2"},
        {"instruction": "Name a color.", "output": "Blue.", "id": "another id"},
        {"prompt": [{"role": "user", "content": "Name a color."}], "completion": "Green."},
        {"prompt": SUM.prompt, "completion": "Two."},
    )
    found = find_answers(given, [RED, SUM], 2)
    assert found.texts == [["Red.", "Blue."], ["2", "Two."]]
    assert found.reasons == [None, None]
    assert found.surplus == 1
    assert not found.strange


def test_what_does_not_fit_is_counted_with_its_line(tmp_path: Path) -> None:
    given = outputs(
        tmp_path,
        {"prompt": "Name a color.", "completion": "Red."},
        {"prompt": "Name a tree.", "completion": "Oak."},
        {"prompt": "Name a color.", "completion": "Blue."},
        {"prompt": "1 + 1?", "completion": "2"},
        {"prompt": "Name a color.", "completion": None},
    )
    sums = PromptRecord("p3", "1 + 1?")
    found = find_answers(given, [RED, sums, SUM], 2)
    assert found.texts == [["Red.", "Blue."], [], []]
    assert found.reasons == [None, "fewer than 2 answers", "no answer"]
    assert found.left_out() == {"fewer than 2 answers": 1, "no answer": 1}
    assert [(row.line, row.reason) for row in found.strange] == [(2, "answers none of the prompts")]
    assert [row.line for row in given.without_answer()] == [5]


def test_too_few_answers_everywhere_is_an_error_that_says_how_many_there_are(tmp_path: Path) -> None:
    given = outputs(tmp_path, *[{"prompt": "Name a color.", "completion": "Red."}] * 3)
    with pytest.raises(DataError, match=r"at most 3 answers to a prompt, and 10 are needed.*generate --samples 10"):
        find_answers(given, [RED], 10)
    with pytest.raises(DataError, match="answers none of the 1 prompts: 3 of its 3 rows are to others"):
        find_answers(given, [SUM], 2)


def test_without_a_source_the_prompts_are_those_of_the_files(tmp_path: Path) -> None:
    given = outputs(
        tmp_path,
        {"prompt": "Name a color.", "completion": "Red.", "id": "a"},
        {"prompt": "Name a color.", "completion": "Blue.", "id": "b", "qtype": "OPENENDED"},
        {"instruction": "1 + 1?", "output": "2", "query_type": "closed_ended"},
        {"prompt": "Name a tree.", "completion": "Oak.", "id": "a", "query_type": "strange"},
        {"completion": "nothing was asked"},
    )
    found = asked_prompts([given], None, limit=None, query_types=None)
    assert [(record.id, record.prompt, record.query_type) for record in found.records] == [
        ("a", "Name a color.", "open_ended"),  # its type stands in its second row
        ("prompt-2", "1 + 1?", "closed_ended"),
        ("prompt-3", "Name a tree.", None),  # the id is taken, and the type is none
    ]
    assert found.about == {
        "prompts": "those of the outputs",
        "limit": None,
        "n_prompts": 3,
        "rejected": 0,
        "query_types": "as given",
    }
    assert len(asked_prompts([given], None, limit=2, query_types=None).records) == 2


def test_files_that_do_not_say_what_was_asked_need_prompts(tmp_path: Path) -> None:
    given = outputs(tmp_path, {"id": "p1", "completion": "Red."}, {"id": "p1", "completion": "Blue."})
    with pytest.raises(DataError, match=r"says what was asked: there is no prompt or instruction.*--prompts SOURCE"):
        asked_prompts([given], None, limit=None, query_types=None)
    source = tmp_path / "prompts.jsonl"
    source.write_text(json.dumps({"id": "p1", "prompt": "Name a color."}) + "\n")
    asked = asked_prompts([given], str(source), limit=None, query_types=None)
    assert find_answers(given, asked.records, 2).texts == [["Red.", "Blue."]]


def test_prompts_are_read_from_any_source_each_text_once(tmp_path: Path) -> None:
    rows = [{"instruction": "Why?", "qtype": "OPENENDED"}, {"instruction": "Why?"}, {"instruction": "Who?"}, {}]
    source = tmp_path / "eval.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_prompts(f"{{source: {source}, name: alpaca_eval}}")
    assert [(record.prompt, record.query_type) for record in found.records] == [("Why?", "open_ended"), ("Who?", None)]
    assert [row.reason.partition(":")[2] or row.reason for row in found.rejected] == [
        "there is neither an instruction nor an input; the row has none",
        " the same prompt came before",
    ]
    assert found.about["n_prompts"] == 2
    assert found.about["rejected"] == 2


def test_wrong_words_for_prompts_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no mapping. Write it as '{source: FILE, name: alpaca_eval}'"):
        read_prompts("{source: [")
    with pytest.raises(ConfigError, match="--query-types is 'gpt'; allowed: local"):
        read_prompts("builtin", query_types="gpt")


def test_the_classifier_gives_a_type_to_prompts_without_one() -> None:
    given = read_prompts("builtin", limit=3)
    typed = read_prompts("builtin", limit=3, query_types="local")
    assert typed.about["query_types"] == "local"
    assert {record.query_type for record in typed.records} <= {"open_ended", "closed_ended"}
    for before, after in zip(given.records, typed.records, strict=True):
        assert before.query_type in (None, after.query_type)  # one that is there stays
