"""FastChat's judgment files, read and written as they are.

    model_judgment/JUDGE_single.jsonl   question_id, model, judge, user_prompt, judgment, score, turn, tstamp
    model_judgment/JUDGE_pair.jsonl     question_id, model_1, model_2, g1_winner, g2_winner, judge, g1_user_prompt,
                                        g1_judgment, g2_user_prompt, g2_judgment, turn, tstamp

A score of -1, or a winner `error`, is an answer that was not judged. Where a judge was asked several times, `repeat`
(from 1) is added.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from proxygold.data.files import RejectedRow, read_rows
from proxygold.errors import DataError
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.fastchat.prompts import Mode
from proxygold.json_lines import to_json
from proxygold.store import write_whole

__all__ = ["ERROR", "ERROR_TEXT", "Game", "GameWinner", "Grade", "read_games", "read_grades", "write_judgments"]

GameWinner = Literal["model_1", "model_2", "tie", "error"]

ERROR: GameWinner = "error"
ERROR_TEXT = "$ERROR$"
"""What FastChat writes for words that a judge never said."""
_NOT_GRADED = -1

Judgment = TypeVar("Judgment", "Grade", "Game")


@dataclass(frozen=True, slots=True)
class Grade:
    """One answer, graded. `judge`: its model and the name of its prompt. `score` NaN: not graded."""

    question_id: int | str
    model: str
    judge: tuple[str, str]
    user_prompt: str
    judgment: str
    score: float
    turn: int
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Game:
    """Two answers, compared in both orders: model_1's first in game 1, model_2's first in game 2."""

    question_id: int | str
    model_1: str
    model_2: str
    g1_winner: GameWinner
    g2_winner: GameWinner
    judge: tuple[str, str]
    g1_user_prompt: str
    g1_judgment: str
    g2_user_prompt: str
    g2_judgment: str
    turn: int
    repeat: int = 1

    @property
    def value(self) -> float:
        """What it is worth to model_1: 1 won in both orders, 0 lost in both, else 0.5; NaN without both verdicts."""
        if ERROR in (self.g1_winner, self.g2_winner):
            return math.nan
        if self.g1_winner != self.g2_winner:
            return 0.5
        return {"model_1": 1.0, "model_2": 0.0, "tie": 0.5}[self.g1_winner]


def write_judgments(
    directory: EvaluationDirectory, judge: str, mode: Mode, judgments: Sequence[Grade] | Sequence[Game]
) -> Path:
    """Write the file of a judge's judgments of all models, whole or not at all."""
    kind = "single" if mode == "single" else "pair"
    path = directory.path / "model_judgment" / f"{directory.model(judge).name}_{kind}.jsonl"
    now = time.time()
    repeated = any(judgment.repeat > 1 for judgment in judgments)
    lines = []
    for judgment in judgments:
        row = asdict(judgment) | {"tstamp": now}
        if not repeated:
            del row["repeat"]
        if isinstance(judgment, Grade) and math.isnan(judgment.score):
            row["score"] = _NOT_GRADED
        lines.append(to_json(row) + "\n")
    write_whole(path, "".join(lines))
    return path


def read_grades(path: Path) -> tuple[list[Grade], list[RejectedRow]]:
    """The grades in a file, and the rows that are none. Raises DataError when the file has no grade."""
    return _read(path, _grade, "a grade (question_id, model, score, turn)")


def read_games(path: Path) -> tuple[list[Game], list[RejectedRow]]:
    """The games in a file, and the rows that are none. Raises DataError when the file has no game."""
    return _read(path, _game, "a comparison (question_id, model_1, model_2, g1_winner, g2_winner)")


def _read(
    path: Path, make: Callable[[Mapping[str, Any]], Judgment], what: str
) -> tuple[list[Judgment], list[RejectedRow]]:
    found: list[Judgment] = []
    rejected: list[RejectedRow] = []
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        try:
            found.append(make(row.values))
        except (KeyError, ValueError) as error:
            problem = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            rejected.append(RejectedRow(path, row.line, problem))
    if not found:
        raise DataError(f"none of the {len(rejected)} rows of {path} is {what}. The first: {rejected[0]}")
    return found, rejected


def _grade(row: Mapping[str, Any]) -> Grade:
    score = row["score"]
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError(f"score is {score!r}; a number is needed")
    texts = _texts(row, Grade)
    return Grade(
        question_id=_id(row),
        model=_name(row, "model"),
        judge=_judge(row),
        score=math.nan if score == _NOT_GRADED else float(score),
        turn=_turn(row),
        repeat=_repeat(row),
        **texts,
    )


def _game(row: Mapping[str, Any]) -> Game:
    winners: dict[str, GameWinner] = {}
    for name in ("g1_winner", "g2_winner"):
        if row[name] not in ("model_1", "model_2", "tie", ERROR):
            raise ValueError(f"{name} is {row[name]!r}; allowed: model_1, model_2, tie, error")
        winners[name] = row[name]
    return Game(
        question_id=_id(row),
        model_1=_name(row, "model_1"),
        model_2=_name(row, "model_2"),
        g1_winner=winners["g1_winner"],
        g2_winner=winners["g2_winner"],
        judge=_judge(row),
        turn=_turn(row),
        repeat=_repeat(row),
        **_texts(row, Game),
    )


def _texts(row: Mapping[str, Any], kind: type[Grade] | type[Game]) -> dict[str, str]:
    """What was asked and said: for people, and not needed."""
    names = [field.name for field in fields(kind) if field.name.endswith(("user_prompt", "judgment"))]
    return {name: str(row.get(name, "")) for name in names}


def _id(row: Mapping[str, Any]) -> int | str:
    if not isinstance(row["question_id"], int | str):
        raise ValueError(f"question_id is {row['question_id']!r}; a number or a text is needed")
    return row["question_id"]


def _name(row: Mapping[str, Any], field: str) -> str:
    if not isinstance(row[field], str) or not row[field]:
        raise ValueError(f"{field} is {row[field]!r}; a model's name is needed")
    return str(row[field])


def _judge(row: Mapping[str, Any]) -> tuple[str, str]:
    judge = row.get("judge")
    if isinstance(judge, list) and len(judge) == 2:
        return str(judge[0]), str(judge[1])
    return ("" if judge is None else str(judge)), ""


def _turn(row: Mapping[str, Any]) -> int:
    turn = row.get("turn", 1)
    if turn not in (1, 2):
        raise ValueError(f"turn is {turn!r}; 1 or 2 is needed")
    return int(turn)


def _repeat(row: Mapping[str, Any]) -> int:
    repeat = row.get("repeat", 1)
    if not isinstance(repeat, int) or repeat < 1:
        raise ValueError(f"repeat is {repeat!r}; a number from 1 is needed")
    return repeat
