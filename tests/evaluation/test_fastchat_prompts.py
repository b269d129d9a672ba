"""Judge prompts: our own, FastChat's as they are, and what is read in a judge's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import DataError
from proxygold.evaluation.fastchat.prompts import own_prompts, parse_grade, parse_winner, read_judge_prompts

REAL = Path(__file__).parents[2] / "../shared/data/fastchat/judge_prompts.jsonl"

FIELDS = {
    name: f"<{name}>"
    for name in (
        *("question", "answer", "answer_a", "answer_b", "ref_answer_1", "ref_answer_2", "question_1", "question_2"),
        *("answer_1", "answer_2", "answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2"),
    )
}


def shown(messages: Any) -> set[str]:
    return {name for name, value in FIELDS.items() if value in messages[-1]["content"]}


@pytest.mark.parametrize(
    ("mode", "reference", "turn", "fields"),
    [
        ("single", False, 1, {"question", "answer"}),
        ("single", True, 1, {"question", "answer", "ref_answer_1"}),
        ("single", False, 2, {"question_1", "question_2", "answer_1", "answer_2"}),
        ("single", True, 2, {"question_1", "question_2", "answer_1", "answer_2", "ref_answer_1", "ref_answer_2"}),
        ("pairwise", False, 1, {"question", "answer_a", "answer_b"}),
        ("pairwise", True, 1, {"question", "answer_a", "answer_b", "ref_answer_1"}),
        *(
            (
                "pairwise",
                reference,
                2,
                {"question_1", "question_2", "answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2"}
                | ({"ref_answer_1", "ref_answer_2"} if reference else set()),
            )
            for reference in (False, True)
        ),
    ],
)
def test_our_prompts_show_what_is_judged_and_no_more(mode: Any, reference: bool, turn: int, fields: set[str]) -> None:
    messages = own_prompts(mode).of(reference=reference, turn=turn).messages(FIELDS)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert shown(messages) == fields
    asked = messages[-1]["content"]
    assert ("[[5]]" in asked) == (mode == "single")
    assert all(mark in asked for mark in ("[[A]]", "[[B]]", "[[C]]")) == (mode == "pairwise")


def test_an_answer_with_braces_stays_as_it_is() -> None:
    fields = {"question": "{answer}", "answer": "{x} {{y}} {0}"}
    asked = own_prompts("single").of(reference=False, turn=1).messages(fields)[-1]["content"]
    assert "{x} {{y}} {0}" in asked
    assert "--- question ---\n{answer}\n" in asked


def test_hashes_tell_prompts_apart() -> None:
    hashes = [*own_prompts("single").about()["hashes"].values(), *own_prompts("pairwise").about()["hashes"].values()]
    assert len(set(hashes)) == 8


def rows(**changed: Any) -> list[dict[str, Any]]:
    """A file of the four prompts for grades, in our words; `changed` goes over the first."""
    names = ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")
    found: list[dict[str, Any]] = []
    for name in names:
        template = "{question_1} {answer_1} {question_2} {answer_2}" if "multi" in name else "{question} {answer}"
        template += " {ref_answer_1}" if "math" in name else ""
        found.append({"name": name, "system_prompt": "S", "prompt_template": template, "output_format": "[[rating]]"})
    found[0] |= changed
    return found


def write(path: Path, found: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in found))
    return path


def test_a_file_of_prompts(tmp_path: Path) -> None:
    prompts = read_judge_prompts(write(tmp_path / "p.jsonl", rows(system_prompt="")), "single")
    first = prompts.of(reference=False, turn=1)
    assert first.name == "single-v1"
    # FastChat sends no system message when the prompt has none.
    assert first.messages(FIELDS) == [{"role": "user", "content": "<question> <answer>"}]
    second = prompts.of(reference=True, turn=2).messages(FIELDS)
    assert second[0] == {"role": "system", "content": "S"}
    assert second[1]["content"] == "<question_1> <answer_1> <question_2> <answer_2> <ref_answer_1>"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "mine"}, "has no judge prompt 'single-v1'; it has mine, single-math-v1"),
        ({"prompt_template": "{question}"}, "answer must be there"),
        ({"prompt_template": "{question} {answer} {ref_answer_1}"}, "allowed are answer, question, and answer must"),
        ({"prompt_template": "{answer.real}"}, "has the fields answer.real"),
        ({"prompt_template": "{answer} {"}, "Write a brace of the text twice"),
        ({"prompt_template": None}, "have to be texts"),
        ({"output_format": "[[rating_a,rating_b]]"}, r"asks for the output format .*; \[\[rating\]\] is read"),
    ],
)
def test_prompts_that_cannot_be_used(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_judge_prompts(write(tmp_path / "p.jsonl", rows(**changed)), "single")


def test_a_damaged_file_of_prompts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p.jsonl:1: not JSON"):
        read_judge_prompts(write(tmp_path / "p.jsonl", ["{", *rows()]), "single")


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Rating: [[5]]", 5.0),
        ("[[9.5]] is what I give", 9.5),
        ("I cite [3]. Rating: [[8]]", 8.0),  # two brackets go before one
        ("Rating: [4]", 4.0),
        ("First [[2]], then [[9]]", 2.0),
        ("[[10]]", 10.0),
    ],
)
def test_grades_in_words(text: str, grade: float) -> None:
    assert parse_grade(text) == grade


@pytest.mark.parametrize(
    ("text", "reason"),
    [("Rating: 8", "no grade"), ("[[eight]]", "no grade"), ("[[-3]]", "no grade"), ("[[85]]", "not between 0 and 10")],
)
def test_words_without_a_grade(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_grade(text)


def test_winners_in_words() -> None:
    assert parse_winner("A is better. [[A]]") == "A"
    assert parse_winner("[[B]]") == "B"
    assert parse_winner("[[C]]") == "tie"
    assert parse_winner("[[C]]? No: [[B]]") == "B"  # FastChat looks for A, then B, then C
    for text in ("A", "[A]", "[[D]]", "[[a]]"):
        with pytest.raises(ValueError, match="no verdict"):
            parse_winner(text)


@pytest.mark.skipif(not REAL.exists(), reason="FastChat's files are not beside the repository")
@pytest.mark.parametrize("mode", ["single", "pairwise"])
def test_fastchats_prompts_are_filled_in_as_fastchat_does(mode: Any) -> None:
    prompts = read_judge_prompts(REAL, mode)
    by_name = {row["name"]: row for row in map(json.loads, REAL.read_text().splitlines())}
    for reference in (False, True):
        for turn in (1, 2):
            prompt = prompts.of(reference=reference, turn=turn)
            row = by_name[prompt.name]
            assert row["type"] == mode
            assert ("math" in prompt.name, "multi" in prompt.name) == (reference, turn == 2)
            assert prompt.messages(FIELDS) == [
                {"role": "system", "content": row["system_prompt"]},
                {"role": "user", "content": row["prompt_template"].format(**FIELDS)},
            ]
