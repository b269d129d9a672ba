"""FastChat's files: questions, references, answers and judgments, with files of our own in its form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.outputs import read_outputs
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.fastchat.files import (
    ChatQuestion,
    ModelAnswers,
    answers_of,
    find_references,
    read_questions,
    read_references,
    write_answers,
)
from proxygold.evaluation.fastchat.judgments import Game, Grade, read_games, read_grades, write_judgments

REAL = Path(__file__).parents[2] / "../shared/data/fastchat"


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer(question: Any, *turns: str) -> dict[str, Any]:
    return {"question_id": question, "model_id": "m", "choices": [{"index": 0, "turns": list(turns)}]}


QUESTIONS = [
    ChatQuestion(7, 0, "math", ("What is 2 + 2?", "And times 3?")),
    ChatQuestion("b", 1, "writing", ("Name a sea.",)),
]


def test_questions_and_the_rows_that_are_none(tmp_path: Path) -> None:
    rows = [
        {"question_id": 7, "category": "math", "turns": ["What is 2 + 2?", "And times 3?"], "reference": ["4", "12"]},
        "{",
        {"question_id": 8, "category": "math", "turns": ["a", "b", "c"]},
        {"question_id": 9, "turns": ["a"]},
        {"question_id": 7, "category": "math", "turns": ["again"]},
        {"question_id": "b", "category": "writing", "turns": ["Name a sea."]},
        {"category": "writing", "turns": ["Whose?"]},
    ]
    path = write(tmp_path / "question.jsonl", rows)
    for given in (path, tmp_path):
        questions, rejected = read_questions(given)
        assert [(q.id, q.number, q.category, q.turns, q.reference) for q in questions] == [
            (7, 0, "math", ("What is 2 + 2?", "And times 3?"), ("4", "12")),
            ("b", 5, "writing", ("Name a sea.",), ()),
        ]
        assert [row.line for row in rejected] == [2, 3, 4, 5, 7]
        assert "list of 1 to 2 texts" in rejected[1].reason
        assert "category is None" in rejected[2].reason
        assert "second question with the id 7" in rejected[3].reason
    assert [q.id for q in read_questions(path, limit=1)[0]] == [7]
    write(path, [{"prompt": "x"}])
    with pytest.raises(DataError, match=r"none of the 1 rows .* question of FastChat's form"):
        read_questions(path)


def test_references_are_the_judges_own_else_gpt_4s(tmp_path: Path) -> None:
    assert find_references(tmp_path / "question.jsonl", "j") is None
    beside = tmp_path / "reference_answer"
    only = write(beside / "other.jsonl", [answer(7, "4", "12")])
    assert find_references(tmp_path / "question.jsonl", "j") == only
    another = write(beside / "another.jsonl", [answer(7, "4", "12")])
    with pytest.raises(ConfigError, match="2 files of reference answers"):
        find_references(tmp_path, "j")
    gpt4 = write(beside / "gpt-4.jsonl", [answer(7, "4", "12")])
    assert find_references(tmp_path, "j") == gpt4
    assert find_references(tmp_path, "another") == another
    assert read_references(gpt4, QUESTIONS) == {"7": ("4", "12")}
    # The question's own, where it has one for each turn; the file goes first.
    own = [ChatQuestion(7, 0, "math", ("a", "b"), ("5", "15")), ChatQuestion(8, 1, "math", ("a", "b"), ("5", ""))]
    assert read_references(None, own) == {"7": ("5", "15")}
    assert read_references(gpt4, own) == {"7": ("4", "12")}
    for damaged in ("{", {"question_id": 7, "text": "4"}):
        write(gpt4, [damaged])
        with pytest.raises(DataError, match=r"gpt-4.jsonl:1"):
            read_references(gpt4, QUESTIONS)


def test_answers_of_a_file(tmp_path: Path) -> None:
    given = read_outputs(
        write(tmp_path / "m.jsonl", [answer(7, "4"), {"question_id": "b", "output": "The Baltic."}]), "m"
    )
    found = answers_of(given, QUESTIONS)
    assert found.turns == {"7": ("4",), "b": ("The Baltic.",)}
    assert found.missing == {"7/2": "no answer in the file"}
    with pytest.raises(DataError, match="answers none of the 2 questions"):
        answers_of(read_outputs(write(tmp_path / "n.jsonl", [answer(70, "4")])), QUESTIONS)


def test_answers_are_written_as_fastchat_writes_them(tmp_path: Path) -> None:
    answers = ModelAnswers("runs/x y", {"7": ("4", "12"), "b": ()}, {"b/1": "too long"})
    path = write_answers(EvaluationDirectory(tmp_path), answers, QUESTIONS)
    # FastChat takes a model's name from its file's, and takes the answer from choices[0]["turns"].
    assert path.parent.name == "model_answer"
    (row,) = read(path)
    assert list(row) == ["question_id", "answer_id", "model_id", "choices", "tstamp"]
    assert (row["question_id"], row["model_id"]) == (7, path.stem)
    assert row["choices"] == [{"index": 0, "turns": ["4", "12"]}]
    assert len(row["answer_id"]) == 22
    assert answers_of(read_outputs(path), QUESTIONS).turns["7"] == ("4", "12")


def test_grades_there_and_back(tmp_path: Path) -> None:
    directory = EvaluationDirectory(tmp_path)
    grades = [
        Grade(7, "m", ("j", "single-v1"), "asked", "Fine. [[7]]", 7.0, 1),
        Grade(7, "m", ("j", "single-v1-multi-turn"), "asked", "$ERROR$", math.nan, 2),
    ]
    path = write_judgments(directory, "org/j", "single", grades)
    assert path == tmp_path / "model_judgment" / "org_j_single.jsonl"
    rows = read(path)
    named = ["question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp"]
    assert [sorted(row) for row in rows] == [sorted(named)] * 2
    assert [row["score"] for row in rows] == [7.0, -1]
    assert rows[0]["judge"] == ["j", "single-v1"]
    found, rejected = read_grades(path)
    assert not rejected
    assert found[0] == grades[0]
    assert math.isnan(found[1].score)
    write(path, [*rows, "{", rows[0] | {"score": "7"}, rows[0] | {"turn": 3}, {"question_id": 7}])
    found, rejected = read_grades(path)
    assert (len(found), [row.line for row in rejected]) == (2, [3, 4, 5, 6])
    assert rejected[1].reason == "score is '7'; a number is needed"
    repeated = write_judgments(directory, "j", "single", [grades[0], Grade(7, "m", ("j", "p"), "", "", 6.0, 1, 2)])
    assert [row["repeat"] for row in read(repeated)] == [1, 2]
    assert [grade.repeat for grade in read_grades(repeated)[0]] == [1, 2]


def game(first: str, second: str, **more: Any) -> Game:
    return Game(7, "a", "b", first, second, ("j", "pair-v2"), "p1", "w1", "p2", "w2", turn=1, **more)  # type: ignore[arg-type]


def test_games_there_and_back(tmp_path: Path) -> None:
    # Won in both orders 1, lost in both 0, tied or in disagreement a half.
    worth = {
        ("model_1", "model_1"): 1.0,
        ("model_2", "model_2"): 0.0,
        ("tie", "tie"): 0.5,
        ("model_1", "model_2"): 0.5,
        ("model_1", "tie"): 0.5,
        ("tie", "model_2"): 0.5,
    }
    games = [game(first, second) for first, second in worth]
    assert [each.value for each in games] == list(worth.values())
    assert math.isnan(game("error", "model_1").value)
    assert math.isnan(game("tie", "error").value)
    path = write_judgments(EvaluationDirectory(tmp_path), "j", "pairwise", games)
    assert path.name == "j_pair.jsonl"
    named = ["question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge", "turn", "tstamp"]
    assert set(read(path)[0]) == {*named, *(f"g{n}_{what}" for n in (1, 2) for what in ("user_prompt", "judgment"))}
    assert read_games(path)[0] == games
    write(path, [{"question_id": 7, "model_1": "a", "model_2": "b", "g1_winner": "A", "g2_winner": "tie"}])
    with pytest.raises(DataError, match="none of the 1 rows .* is a comparison .* g1_winner is 'A'"):
        read_games(path)


@pytest.mark.skipif(not REAL.exists(), reason="FastChat's files are not beside the repository")
def test_fastchats_own_files() -> None:
    for name, turns, referenced in (("mt_bench", 2, 30), ("vicuna_bench", 1, 10)):
        questions, rejected = read_questions(REAL / name)
        assert (len(questions), len(rejected)) == (80, 0)
        assert {len(question.turns) for question in questions} == {turns}
        path = find_references(REAL / name, "gpt-4")
        assert path is not None
        references = read_references(path, [])
        assert len(references) == referenced
        needing = {str(q.id) for q in questions if q.category in ("math", "reasoning", "coding")}
        assert set(references) == needing
        assert {len(found) for found in references.values()} == {turns}
