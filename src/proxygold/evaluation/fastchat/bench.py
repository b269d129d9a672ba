"""A benchmark of FastChat's form, from questions to metrics: what Vicuna-Bench and MT-Bench share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.fastchat.answers import ChatSampling, answer_questions
from proxygold.evaluation.fastchat.files import (
    ChatQuestion,
    ModelAnswers,
    answers_of,
    find_references,
    model_id,
    read_questions,
    read_references,
    write_answers,
)
from proxygold.evaluation.fastchat.judging import NEEDS_REFERENCE, compare_answers, grade_answers
from proxygold.evaluation.fastchat.judgments import Game, Grade, write_judgments
from proxygold.evaluation.fastchat.prompts import JudgePrompts, Mode, own_prompts, read_judge_prompts
from proxygold.evaluation.fastchat.scores import game_results, grade_results
from proxygold.evaluation.judges.judging import DryJudge, Judge
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Difference, Evaluation, Metric, ModelResult

__all__ = ["JUDGE_PARAMETERS", "ChatBenchSettings", "evaluate_chat"]

JUDGE_PARAMETERS: Mapping[str, Any] = {"temperature": 0, "max_tokens": 2048}
"""What FastChat asks its judge with."""


@dataclass(frozen=True, slots=True)
class ChatBenchSettings:
    """What is asked and how it is judged.

    - `questions`: FastChat's `question.jsonl` or the directory that holds it.
    - `mode`: `single` grades each answer from 1 to 10; `pairwise` compares two in both orders.
    - `baseline`: of `pairwise`, the model that the others play against (None: each against each); of `single`, the
      model that differences are over.
    - `references`: None takes what `find_references` finds. `judge_prompts`: None takes our own.
    - `repeats`: how often the judge is asked the same.
    - `limit`: the first so many questions only.
    """

    questions: Path
    mode: Mode
    references: Path | None = None
    judge_prompts: Path | None = None
    baseline: str | None = None
    repeats: int = 1
    limit: int | None = None
    sampling: ChatSampling = field(default_factory=ChatSampling)


@dataclass(frozen=True, slots=True)
class _Judged:
    metrics: Mapping[str, Sequence[Metric]]
    differences: Sequence[Difference]
    notes: Sequence[str]
    left_out: Mapping[str, Mapping[str, int]]
    file: Path | None


def evaluate_chat(
    benchmark: str,
    subjects: Sequence[Subject | GivenOutputs],
    settings: ChatBenchSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: Judge | None,
) -> Evaluation:
    """Answers of all subjects, written as FastChat's, then their judgments, written likewise, and the metrics.

    Without a judge there are only answers. Raises ConfigError for a baseline that is none of the subjects or a single
    subject to compare, DataError for files that cannot be used, JudgeError and StoreError as judge and subjects do.
    """
    names = [subject.name for subject in subjects]
    _check(names, settings, judged=judge is not None)
    questions, rejected = read_questions(settings.questions, settings.limit)
    prompts = (
        own_prompts(settings.mode)
        if settings.judge_prompts is None
        else read_judge_prompts(settings.judge_prompts, settings.mode)
    )
    path = settings.references or find_references(settings.questions, judge.name if judge is not None else None)
    references = read_references(path, questions)
    if judge is not None:
        _check_references(questions, references)
    files: dict[str, str] = {}
    answers: list[ModelAnswers] = []
    for subject in subjects:
        if isinstance(subject, GivenOutputs):
            answers.append(answers_of(subject, questions))
        else:
            answers.append(answer_questions(subject, questions, settings.sampling, directory, progress))
            files[f"answers of {subject.name}"] = str(write_answers(directory, answers[-1], questions))
    about: dict[str, Any] = {"benchmark": benchmark, **_about(settings, path, prompts, questions)}
    if judge is None:
        results = [ModelResult(each.model, [], Counter(each.missing.values()), each.about) for each in answers]
        notes = ["the answers are there and nothing is judged yet. The same command with --judge MODEL judges them."]
        return Evaluation(benchmark, about, results, notes=notes, files=files, rejected=list(map(str, rejected)))
    ids = {name: model_id(directory, name) for name in names}
    judging = _Judging(judge, prompts, questions, references, settings, directory, progress, ids)
    judged = judging.grades(answers) if settings.mode == "single" else judging.games(answers)
    if judged.file is not None:
        files["judgments"] = str(judged.file)
    about["judge"] = dict(judge.about)
    if settings.mode == "pairwise" and settings.baseline is not None:
        about["baseline_about"] = next(dict(each.about) for each in answers if each.model == settings.baseline)
    return Evaluation(
        benchmark,
        about,
        [
            ModelResult(each.model, judged.metrics[each.model], judged.left_out[each.model], each.about)
            for each in answers
            if each.model in judged.metrics
        ],
        judged.differences,
        judged.notes,
        files,
        list(map(str, rejected)),
    )


@dataclass(frozen=True, slots=True)
class _Judging:
    judge: Judge
    prompts: JudgePrompts
    questions: Sequence[ChatQuestion]
    references: Mapping[str, Sequence[str]]
    settings: ChatBenchSettings
    directory: EvaluationDirectory
    progress: EvalProgress
    ids: Mapping[str, str]

    def _items(self) -> int:
        return self.settings.repeats * sum(len(question.turns) for question in self.questions)

    def _categories(self) -> dict[str, str]:
        return {str(question.id): question.category for question in self.questions}

    def grades(self, answers: Sequence[ModelAnswers]) -> _Judged:
        grades: dict[str, list[Grade]] = {}
        left_out: dict[str, Mapping[str, int]] = {}
        for each in answers:
            with self.progress.track(f"judging {each.model}", self._items()) as advance:
                grades[each.model], left_out[each.model] = grade_answers(
                    self.judge,
                    self.prompts,
                    self.questions,
                    self.references,
                    each,
                    self.directory.verdicts_file(each.model),
                    name=self.ids[each.model],
                    repeats=self.settings.repeats,
                    progress=advance,
                )
        file = self._write([grade for found in grades.values() for grade in found])
        return _Judged(*grade_results(grades, self._categories(), self.settings.baseline), left_out, file)

    def games(self, answers: Sequence[ModelAnswers]) -> _Judged:
        found: list[tuple[Game, str | None]] = []
        for first, others in self._pairs(answers):
            total = 2 * self._items() * len(others)
            with self.progress.track(f"judging {first.model}", total) as advance:
                found += compare_answers(
                    self.judge,
                    self.prompts,
                    self.questions,
                    self.references,
                    [(first, other) for other in others],
                    self.directory.verdicts_file(first.model),
                    names=self.ids,
                    repeats=self.settings.repeats,
                    progress=advance,
                )
        games = [game for game, _ in found]
        file = self._write(games)
        left_out = {
            model: Counter(failure for game, failure in found if failure and name in (game.model_1, game.model_2))
            for model, name in self.ids.items()
        }
        models = [each.model for each in answers]
        results = game_results(games, models, self.ids, self._categories(), self.settings.baseline)
        return _Judged(*results, left_out, file)

    def _write(self, judgments: Sequence[Grade] | Sequence[Game]) -> Path | None:
        """FastChat's file of them; none where nothing was asked."""
        if isinstance(self.judge, DryJudge):
            return None
        return write_judgments(self.directory, self.judge.name, self.settings.mode, judgments)

    def _pairs(self, answers: Sequence[ModelAnswers]) -> list[tuple[ModelAnswers, list[ModelAnswers]]]:
        """Who plays whom: each against the baseline, or against all that come after it."""
        if self.settings.baseline is not None:
            base = next(each for each in answers if each.model == self.settings.baseline)
            return [(each, [base]) for each in answers if each is not base]
        pairs: dict[int, list[ModelAnswers]] = {}
        for one, two in combinations(range(len(answers)), 2):
            pairs.setdefault(one, []).append(answers[two])
        return [(answers[one], others) for one, others in pairs.items()]


def _check(names: Sequence[str], settings: ChatBenchSettings, *, judged: bool) -> None:
    """Before anything is read."""
    if judged and settings.mode == "pairwise" and len(names) < 2:
        raise ConfigError(
            f"{names[0]} has nobody to be compared with. Give the other one too, such as the start policy: --model or "
            "--outputs once more, with --baseline NAME."
        )
    if settings.baseline is not None and settings.baseline not in names:
        raise ConfigError(f"--baseline {settings.baseline!r} is none of those given: {', '.join(names)}.")


def _check_references(questions: Sequence[ChatQuestion], references: Mapping[str, Sequence[str]]) -> None:
    """That not all reference answers are missing, which is a forgotten file and no gap in one."""
    needing = [question for question in questions if question.category in NEEDS_REFERENCE]
    if needing and not any(str(question.id) in references for question in needing):
        raise DataError(
            f"{len(needing)} questions (the first is {needing[0].id}, {needing[0].category}) are judged beside a "
            "reference answer, and there is none. Give --references FILE, FastChat's reference_answer/gpt-4.jsonl."
        )


def _about(
    settings: ChatBenchSettings, references: Path | None, prompts: JudgePrompts, questions: Sequence[ChatQuestion]
) -> dict[str, Any]:
    """Everything that changes the numbers, for results.json."""
    file = settings.questions / "question.jsonl" if settings.questions.is_dir() else settings.questions
    sampling = asdict(settings.sampling)
    if settings.sampling.temperature is None:
        sampling["temperature"] = "by category, as FastChat"
    return {
        "mode": settings.mode,
        "questions": str(file),
        "questions_sha256": _sha256(file),
        "n_questions": len(questions),
        "references": None if references is None else str(references),
        "references_sha256": None if references is None else _sha256(references),
        "judge_prompts": prompts.about(),
        "baseline": settings.baseline,
        "repeats": settings.repeats,
        "limit": settings.limit,
        "sampling": sampling,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
