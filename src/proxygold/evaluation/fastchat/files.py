"""FastChat's question and answer files (`fastchat/llm_judge`), read and written as they are.

    question.jsonl              question_id, category, turns, and maybe reference
    reference_answer/gpt-4.jsonl
    model_answer/MODEL.jsonl    question_id, answer_id, model_id, choices: [{index, turns}], tstamp

The file of a model's answers is called by the model's name, which FastChat takes from there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxygold.data.files import RejectedRow, Row, read_rows
from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.outputs import GivenOutputs, completion_of
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.json_lines import to_json
from proxygold.store import write_whole

__all__ = [
    "MOST_TURNS",
    "ChatQuestion",
    "ModelAnswers",
    "answers_of",
    "find_references",
    "item_id",
    "model_id",
    "read_questions",
    "read_references",
    "write_answers",
]

MOST_TURNS = 2
"""There are judge prompts for answers to a first and to a second turn."""

NO_ANSWER = "no answer in the file"


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """One question. `id` is as in the file; `number` is its place there, from 0. `reference`: its own, if any."""

    id: int | str
    number: int
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelAnswers:
    """What one model answered: of each question, by `str(id)`, the turns up to the first that has no answer.

    `missing`: why an item (`item_id`) has none. `about`: what answered, for results.json.
    """

    model: str
    turns: Mapping[str, Sequence[str]]
    missing: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def item_id(question: ChatQuestion, turn: int) -> str:
    """What the answer to a turn (from 1) is called, such as `81/2`."""
    return f"{question.id}/{turn}"


def model_id(directory: EvaluationDirectory, name: str) -> str:
    """What a model is called in FastChat's files: its name, in characters that a file's name may have."""
    return directory.model(name).name


def read_questions(path: Path, limit: int | None = None) -> tuple[list[ChatQuestion], list[RejectedRow]]:
    """The questions of a `question.jsonl`, or of the directory that holds one, and the rows that are none.

    Raises DataError when there is no such file or none of its rows is a question.
    """
    path = path / "question.jsonl" if path.is_dir() else path
    questions: list[ChatQuestion] = []
    rejected: list[RejectedRow] = []
    seen: set[str] = set()
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        try:
            question = _question(row, len(questions) + len(rejected))
            if str(question.id) in seen:
                raise DataError(f"a second question with the id {question.id}")
        except DataError as error:
            rejected.append(RejectedRow(path, row.line, str(error)))
            continue
        seen.add(str(question.id))
        questions.append(question)
    if not questions:
        raise DataError(
            f"none of the {len(rejected)} rows of {path} is a question of FastChat's form. The first: {rejected[0]}"
        )
    return questions[:limit], rejected


def _question(row: Row, number: int) -> ChatQuestion:
    values = row.values
    name, category, turns = values.get("question_id"), values.get("category"), _texts(values.get("turns"))
    if not isinstance(name, int | str):
        raise DataError(f"question_id is {name!r}; a number or a text is needed")
    if not isinstance(category, str):
        raise DataError(f"category is {category!r}; a text is needed")
    if not turns or len(turns) > MOST_TURNS:
        raise DataError(f"turns has to be a list of 1 to {MOST_TURNS} texts")
    return ChatQuestion(name, number, category, turns, _texts(values.get("reference")) or ())


def find_references(questions: Path, judge: str | None) -> Path | None:
    """The reference answers beside the questions: the judge's own, as FastChat takes them, else gpt-4's, else the one
    file that is there; None where there is none."""
    beside = (questions if questions.is_dir() else questions.parent) / "reference_answer"
    for name in (judge, "gpt-4"):
        if name is not None and (beside / f"{name}.jsonl").is_file():
            return beside / f"{name}.jsonl"
    files = sorted(beside.glob("*.jsonl"))
    if len(files) > 1:
        raise ConfigError(f"{beside} has {len(files)} files of reference answers. Choose one with --references FILE.")
    return files[0] if files else None


def read_references(path: Path | None, questions: Sequence[ChatQuestion]) -> dict[str, tuple[str, ...]]:
    """Reference answers by `str(id)`, a text for each turn: of the file, else the question's own where it has one for
    every turn.

    Raises DataError when the file cannot be read or one of its rows is no answer.
    """
    found = {str(question.id): question.reference for question in questions if _complete(question)}
    if path is None:
        return found
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            raise DataError(f"{row}. A reference answer that is lost would change what is judged: mend the file.")
        turns = _turns(row.values)
        if turns is None or row.values.get("question_id") is None:
            raise DataError(f"{path}:{row.line} is no answer: question_id and choices with turns are needed.")
        found[str(row.values["question_id"])] = turns
    return found


def _complete(question: ChatQuestion) -> bool:
    return len(question.reference) >= len(question.turns) and all(text.strip() for text in question.reference)


def answers_of(outputs: GivenOutputs, questions: Sequence[ChatQuestion]) -> ModelAnswers:
    """The answers in a file: FastChat's (the first of `choices`), or, to questions of one turn, any with `question_id`
    and the answer in `output`, `completion`, `response` or the like."""
    rows = outputs.by("question_id")
    turns: dict[str, Sequence[str]] = {}
    missing: dict[str, str] = {}
    for question in questions:
        row = rows.get(str(question.id))
        found = () if row is None else _turns(row)
        if found is None and row is not None and len(question.turns) == 1:
            text = completion_of(row)
            found = None if text is None else (text,)
        turns[str(question.id)] = kept = (found or ())[: len(question.turns)]
        missing |= {item_id(question, turn): NO_ANSWER for turn in range(len(kept) + 1, len(question.turns) + 1)}
    if not any(turns.values()):
        raise DataError(
            f"{outputs.path} answers none of the {len(questions)} questions. Its rows need the question_id of one and "
            f"choices: [{{index, turns}}]; they have {', '.join(outputs.fields())}."
        )
    return ModelAnswers(outputs.name, turns, missing, outputs.about)


def _turns(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The turns of a row's first choice, None when it has no such thing."""
    choices = row.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return _texts(first.get("turns")) if isinstance(first, Mapping) else None


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        return None
    return tuple(value)


def write_answers(directory: EvaluationDirectory, answers: ModelAnswers, questions: Sequence[ChatQuestion]) -> Path:
    """Write `model_answer/MODEL.jsonl`, a row for each question that was answered throughout."""
    name = model_id(directory, answers.model)
    path = directory.path / "model_answer" / f"{name}.jsonl"
    now = time.time()
    lines = []
    for question in questions:
        turns = list(answers.turns.get(str(question.id), ()))
        if len(turns) == len(question.turns):
            row = {
                "question_id": question.id,
                "answer_id": hashlib.sha256(to_json([name, question.id, turns]).encode()).hexdigest()[:22],
                "model_id": name,
                "choices": [{"index": 0, "turns": turns}],
                "tstamp": now,
            }
            lines.append(to_json(row) + "\n")
    write_whole(path, "".join(lines))
    return path
