"""Asking a judge about answers to FastChat's questions: each graded alone, or two compared in both orders."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxygold.evaluation.answers.subjects import AnyProgress, no_progress
from proxygold.evaluation.fastchat.files import ChatQuestion, ModelAnswers, item_id
from proxygold.evaluation.fastchat.judgments import ERROR, ERROR_TEXT, Game, GameWinner, Grade
from proxygold.evaluation.fastchat.prompts import JudgePrompt, JudgePrompts, Winner, parse_grade, parse_winner
from proxygold.evaluation.judges.judging import Judge, Question, Verdict
from proxygold.records import Message

__all__ = ["NEEDS_REFERENCE", "NO_REFERENCE", "compare_answers", "grade_answers"]

NEEDS_REFERENCE = frozenset({"math", "reasoning", "coding"})
"""The categories whose answers are judged beside a reference answer."""

NO_REFERENCE = "no reference answer"


@dataclass(frozen=True, slots=True)
class _Item:
    """One thing to judge: the answer to a turn (`missing`: why there is nothing to judge), asked for the nth time."""

    question: ChatQuestion
    turn: int
    repeat: int
    prompt: JudgePrompt
    missing: str | None

    def id(self, more: str = "") -> str:
        repeated = f"#{self.repeat}" if self.repeat > 1 else ""
        return f"{item_id(self.question, self.turn)}{more}{repeated}"


def grade_answers(
    judge: Judge,
    prompts: JudgePrompts,
    questions: Sequence[ChatQuestion],
    references: Mapping[str, Sequence[str]],
    answers: ModelAnswers,
    file: Path,
    *,
    name: str,
    repeats: int = 1,
    progress: AnyProgress = no_progress,
) -> tuple[list[Grade], dict[str, int]]:
    """A grade for each turn of each question and repeat, of the model that files call `name`, and how many are missing,
    by reason."""
    items = list(_items(prompts, questions, references, [answers], repeats))
    asked = [
        _question(item, references, {"answer": answers.turns[str(item.question.id)]})
        for item in items
        if not item.missing
    ]
    verdicts = iter(judge.ask(asked, parse_grade, file, progress=progress))
    texts = iter(question.messages[-1]["content"] for question in asked)
    grades: list[Grade] = []
    left_out: Counter[str] = Counter()
    for item in items:
        prompt, said, score = "", ERROR_TEXT, math.nan
        if item.missing:
            left_out[item.missing] += 1
        else:
            verdict, prompt = next(verdicts), next(texts)
            said = verdict.text or ERROR_TEXT
            score = math.nan if verdict.value is None else verdict.value
            if verdict.failure is not None:
                left_out[verdict.failure] += 1
        who = (judge.name, item.prompt.name)
        grades.append(Grade(item.question.id, name, who, prompt, said, score, item.turn, item.repeat))
    return grades, dict(left_out)


def compare_answers(
    judge: Judge,
    prompts: JudgePrompts,
    questions: Sequence[ChatQuestion],
    references: Mapping[str, Sequence[str]],
    pairs: Sequence[tuple[ModelAnswers, ModelAnswers]],
    file: Path,
    *,
    names: Mapping[str, str],
    repeats: int = 1,
    progress: AnyProgress = no_progress,
) -> list[tuple[Game, str | None]]:
    """A game for each pair of models, turn of each question and repeat, in both orders, and why it has no result if it
    has none. `names`: what files call each model."""
    items = [
        (first, second, item)
        for first, second in pairs
        for item in _items(prompts, questions, references, [first, second], repeats)
    ]
    asked: list[Question] = []
    for first, second, item in items:
        if item.missing:
            continue
        one, two = (answers.turns[str(item.question.id)] for answers in (first, second))
        for order, (a, b) in enumerate(((one, two), (two, one)), start=1):
            answers_by_field = {"answer_a": a, "answer_b": b}
            asked.append(_question(item, references, answers_by_field, f"/{names[second.model]}/{order}"))
    verdicts = iter(judge.ask(asked, parse_winner, file, progress=progress))
    texts = iter(question.messages[-1]["content"] for question in asked)
    games: list[tuple[Game, str | None]] = []
    for first, second, item in items:
        both: list[Verdict[Winner]] = [] if item.missing else [next(verdicts), next(verdicts)]
        words = [verdict.text or ERROR_TEXT for verdict in both] or [ERROR_TEXT] * 2
        shown = [next(texts) for _ in both] or ["", ""]
        winners = [_winner(verdict, order) for order, verdict in enumerate(both)] or [ERROR, ERROR]
        game = Game(
            question_id=item.question.id,
            model_1=names[first.model],
            model_2=names[second.model],
            g1_winner=winners[0],
            g2_winner=winners[1],
            judge=(judge.name, item.prompt.name),
            g1_user_prompt=shown[0],
            g1_judgment=words[0],
            g2_user_prompt=shown[1],
            g2_judgment=words[1],
            turn=item.turn,
            repeat=item.repeat,
        )
        failure = item.missing or next((verdict.failure for verdict in both if verdict.failure), None)
        games.append((game, failure))
    return games


def _winner(verdict: Verdict[Winner], order: int) -> GameWinner:
    """Whom a verdict names: in the first order (0) A is model_1, in the second model_2."""
    if verdict.value is None:
        return ERROR
    if verdict.value == "tie":
        return "tie"
    return "model_1" if (verdict.value == "A") == (order == 0) else "model_2"


def _items(
    prompts: JudgePrompts,
    questions: Sequence[ChatQuestion],
    references: Mapping[str, Sequence[str]],
    models: Sequence[ModelAnswers],
    repeats: int,
) -> Iterator[_Item]:
    for repeat in range(1, repeats + 1):
        for question in questions:
            needed = question.category in NEEDS_REFERENCE
            for turn in range(1, 1 + len(question.turns)):
                name = item_id(question, turn)
                missing = next((answers.missing[name] for answers in models if name in answers.missing), None)
                if needed and len(references.get(str(question.id), ())) < turn:
                    missing = missing or NO_REFERENCE
                yield _Item(question, turn, repeat, prompts.of(reference=needed, turn=turn), missing)


def _question(
    item: _Item, references: Mapping[str, Sequence[str]], answers: Mapping[str, Sequence[str]], more: str = ""
) -> Question:
    messages: list[Message] = item.prompt.messages(_fields(item, references.get(str(item.question.id), ()), answers))
    return Question(item.id(more), messages, item.repeat - 1)


def _fields(item: _Item, reference: Sequence[str], answers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What goes into the template: `question` and `answer` for a first turn, `question_1`, `answer_2`, … for both."""
    fields = {f"ref_answer_{turn}": text for turn, text in enumerate(reference, start=1)}
    if item.turn == 1:
        return fields | {"question": item.question.turns[0]} | {name: turns[0] for name, turns in answers.items()}
    for turn in (1, 2):
        fields[f"question_{turn}"] = item.question.turns[turn - 1]
        fields |= {f"{name}_{turn}": turns[turn - 1] for name, turns in answers.items()}
    return fields
