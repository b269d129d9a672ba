"""Super-NaturalInstructions' files: the published form, rows, what is rejected; and how an instance is asked."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import DataError
from proxygold.evaluation.super_ni.categories import CLASSIFICATION, TEST_TASKS, category_of
from proxygold.evaluation.super_ni.data import Instance, read_instances
from proxygold.evaluation.super_ni.prompts import instance_prompt

REAL = Path(__file__).parents[2] / "../shared/data/superni/test_37_tasks.jsonl.gz"


def task(*instances: Any, **changes: Any) -> dict[str, Any]:
    return {
        "Definition": ["Say the opposite.", "an older wording"],
        "Categories": ["Word Analogy"],
        "Positive Examples": [{"input": "up", "output": "down", "explanation": "They are opposites."}],
        "Instances": list(instances),
    } | changes


def instance(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": f"id-{number}", "input": f"word {number}", "output": [f"answer {number}", "another"]} | changes


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the benchmark's repository: two test tasks that are there, one that is not, one for training."""
    (tmp_path / "splits/default").mkdir(parents=True)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "splits/default/test_tasks.txt").write_text("task7_opposites\ntask1557_fix\ntask8_gone\n")
    tasks = {
        "task7_opposites": task(*(instance(number) for number in range(5))),
        # As it was published first: a text for the definition, no ids, no categories.
        "task1557_fix": task({"input": "he go", "output": ["he goes"]}, Definition="Correct it.", Categories=None),
        "task1_train": task(instance(9)),
    }
    for name, content in tasks.items():
        (tmp_path / f"tasks/{name}.json").write_text(json.dumps(content))
    return tmp_path


def rows(path: Path, *values: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in values))
    return path


def test_a_copy_of_the_repository_is_read_by_its_own_list_of_tasks(repository: Path) -> None:
    found = read_instances(repository, per_task=3)
    assert found.tasks == ["task7_opposites", "task1557_fix"]
    assert [one.id for one in found.instances] == ["id-0", "id-1", "id-2", "task1557_fix/1"]
    assert found.instances[0] == Instance(
        id="id-0",
        task="task7_opposites",
        category="Word Analogy",
        definition="Say the opposite.",
        input="word 0",
        references=("answer 0", "another"),
        examples=(("up", "down"),),
    )
    assert (found.instances[3].definition, found.instances[3].category) == ("Correct it.", "Grammar Error Correction")
    assert [row.reason for row in found.rejected] == ["the list of tasks names it, and it is not there"]
    assert read_instances(repository / "tasks", per_task=3) == found
    assert len(read_instances(repository, limit=2).instances) == 2


def test_other_tasks_can_be_named_and_a_task_can_be_given_alone(repository: Path, tmp_path: Path) -> None:
    listed = tmp_path / "mine.txt"
    listed.write_text("task1_train.json\n")
    assert read_instances(repository, tasks=listed).tasks == ["task1_train"]
    assert len(read_instances(repository / "tasks/task7_opposites.json").instances) == 5
    (repository / "splits/default/test_tasks.txt").unlink()
    assert read_instances(repository).tasks == ["task1557_fix", "task1_train", "task7_opposites"]


def test_rows_of_a_file_with_their_own_names_for_things(tmp_path: Path) -> None:
    file = rows(
        tmp_path / "rows.jsonl",
        {"task": "task39_x", "instruction": "Do.", "input": "a", "reference": "one"},
        {"task_id": "task39_x", "references": ["one", "two"], "id": 7, "task_category": "Own"},
        {"task": "mine", "definition": ["Do."], "inputs": "b", "targets": ["t"], "Categories": ["Listed"]},
    )
    found = read_instances(file).instances
    assert [one.id for one in found] == ["task39_x/1", "7", "mine/1"]
    assert [one.category for one in found] == ["Overlap Extraction", "Own", "Listed"]
    assert [one.references for one in found] == [("one",), ("one", "two"), ("t",)]
    assert [(one.definition, one.input) for one in found] == [("Do.", "a"), (None, None), ("Do.", "b")]


def test_bad_rows_are_listed_with_their_lines_and_do_not_move_the_others(tmp_path: Path) -> None:
    good = {"task": "t", "instruction": "Do.", "input": "a", "reference": ["r"]}
    file = rows(
        tmp_path / "rows.jsonl",
        good,
        "{not json",
        good | {"reference": []},
        good | {"task": None},
        good | {"id": "t/1"},
        good,
        good | {"task": "other"},
    )
    listed = tmp_path / "tasks.txt"
    listed.write_text("t\nabsent\n")
    found = read_instances(file, tasks=listed)
    # The third row was the task's second, though it cannot be used; so the sixth is its fourth.
    assert [one.id for one in found.instances] == ["t/1", "t/4"]
    assert [(row.line, row.reason) for row in found.rejected] == [
        (2, "not JSON: Expecting property name enclosed in double quotes at column 2"),
        (3, "no reference: none of reference, references, output, outputs, targets is a text or a list of texts"),
        (4, "no task: none of task, task_id, Task, task_name is a text"),
        (5, "the id 't/1' was there before"),
        (2, f"{file} has no instance of absent"),
    ]


def test_instances_of_a_task_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "task1_x.json"
    file.write_text(json.dumps(task(instance(1), instance(2, output=[]), "text", instance(3))))
    found = read_instances(file, per_task=3)
    # The benchmark's are the first three, one of which is good.
    assert [one.id for one in found.instances] == ["id-1"]
    assert [(row.line, row.reason) for row in found.rejected] == [
        (line, "an instance needs input and output, and its task a Definition") for line in (2, 3)
    ]
    (tmp_path / "task2_broken.json").write_text("[1")
    assert [str(row) for row in read_instances(tmp_path, per_task=1).rejected] == [
        f"{tmp_path}/task2_broken.json:0: not a task: a JSON object with Instances"
    ]


def test_errors_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no .*gone. Give a copy of the natural-instructions repository"):
        read_instances(tmp_path / "gone")
    with pytest.raises(DataError, match=r"has no task\*\.json, neither itself nor in tasks/"):
        read_instances(tmp_path)
    nothing = rows(tmp_path / "rows.jsonl", {"task": "t"})
    with pytest.raises(DataError, match="no instance that can be evaluated. The first problem: .*:1: no reference"):
        read_instances(nothing)
    (tmp_path / "tasks.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"the list of tasks .*tasks.txt is empty. It has a task's name on each line"):
        read_instances(nothing, tasks=tmp_path / "tasks.txt")
    with pytest.raises(DataError, match="cannot read the list of tasks"):
        read_instances(nothing, tasks=tmp_path / "none.txt")


def test_categories_are_those_of_the_119_test_tasks() -> None:
    assert len(TEST_TASKS) == 119
    # As the files of the 119 tasks name them.
    assert Counter(TEST_TASKS.values()) == {
        "Textual Entailment": 24,
        "Title Generation": 18,
        "Coreference Resolution": 14,
        "Answerability Classification": 13,
        "Question Rewriting": 11,
        "Data to Text": 9,
        "Word Analogy": 8,
        "Cause Effect Classification": 7,
        "Dialogue Act Recognition": 7,
        "Keyword Tagging": 5,
        "Overlap Extraction": 2,
        "Grammar Error Correction": 1,
    }
    assert set(TEST_TASKS.values()) > CLASSIFICATION
    assert category_of("task020_mctaco_span_based_question") == "Answerability Classification"
    assert category_of("my_task") is None


def test_prompts_of_both_protocols() -> None:
    asked = Instance(
        "1", "t", None, " Add up. ", "\n1 and 2", ("3",), (("2 and 2", "4"), ("Is it?", "no!"), ("5", "5"))
    )
    assert instance_prompt(asked, "paper") == "Add up.\n\n1 and 2"
    assert instance_prompt(asked, "official") == (
        "Definition: Add up.\n\nNow complete the following example -\nInput: 1 and 2.\nOutput: "
    )
    # What ends with punctuation keeps it; the question's label stands at the margin, the answer's one space in.
    assert instance_prompt(asked, "official", 2) == (
        "Definition: Add up.\n\n"
        " Positive Example 1 -\nInput: 2 and 2.\n Output: 4.\n\n"
        " Positive Example 2 -\nInput: Is it?\n Output: no!\n\n"
        "Now complete the following example -\nInput: 1 and 2.\nOutput: "
    )
    empty = Instance("1", "t", None, "Say a color", "", ("red",))
    assert instance_prompt(empty, "official").startswith("Definition: Say a color.\n\n")
    assert "Input: .\n" in instance_prompt(empty, "official")
    with pytest.raises(DataError, match="'1' has references but no question, so no model can answer it"):
        instance_prompt(Instance("1", "t", None, None, None, ("3",)), "paper")


@pytest.mark.skipif(not REAL.exists(), reason="the data is not beside the repository")
def test_the_real_rows() -> None:
    found = read_instances(REAL)
    assert (len(found.instances), len(found.tasks), found.rejected) == (1_694, 37, [])
    # Answers of eleven words and more: no label is that long but for causes, which are told in a sentence.
    assert {one.category for one in found.instances} == {
        *("Cause Effect Classification", "Coreference Resolution", "Data to Text", "Grammar Error Correction"),
        *("Keyword Tagging", "Overlap Extraction", "Question Rewriting", "Title Generation"),
    }
    assert len(read_instances(REAL, per_task=10).instances) < 370
