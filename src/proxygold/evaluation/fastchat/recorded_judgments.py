"""The metrics of judgments that FastChat, or an earlier evaluation, wrote down. Nothing is answered, nobody asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxygold.errors import ConfigError
from proxygold.evaluation.fastchat.files import read_questions
from proxygold.evaluation.fastchat.judgments import read_games, read_grades
from proxygold.evaluation.fastchat.prompts import Mode
from proxygold.evaluation.fastchat.scores import game_results, grade_results
from proxygold.evaluation.results import Evaluation, ModelResult

__all__ = ["NO_VERDICT", "evaluate_judgments"]

NO_VERDICT = "no verdict in the file"


def evaluate_judgments(
    benchmark: str, judgments: Path, mode: Mode, *, questions: Path | None = None, baseline: str | None = None
) -> Evaluation:
    """The metrics of `JUDGE_single.jsonl` or `JUDGE_pair.jsonl`, as FastChat's show_result counts.

    `questions` say the categories; None: there are none in the result. With a `baseline`, games without it are passed
    over. Raises DataError for files that cannot be read, ConfigError for a baseline that is not in them.
    """
    known = [] if questions is None else read_questions(questions)[0]
    categories = {str(question.id): question.category for question in known}
    if mode == "single":
        grades, rejected = read_grades(judgments)
        models = list(dict.fromkeys(grade.model for grade in grades))
        _check(baseline, models, judgments)
        by_model = {model: [grade for grade in grades if grade.model == model] for model in models}
        metrics, differences, notes = grade_results(by_model, categories, baseline)
        judges = Counter(grade.judge for grade in grades)
    else:
        games, rejected = read_games(judgments)
        models = list(dict.fromkeys(name for game in games for name in (game.model_1, game.model_2)))
        _check(baseline, models, judgments)
        games = [game for game in games if baseline is None or baseline in (game.model_1, game.model_2)]
        names = {model: model for model in models}
        metrics, differences, notes = game_results(games, models, names, categories, baseline)
        judges = Counter(game.judge for game in games)
    results = []
    for model, found in metrics.items():
        missing = found[0].n_total - found[0].n_scored
        results.append(
            ModelResult(model, found, {NO_VERDICT: missing} if missing else {}, {"judgments": str(judgments)})
        )
    return Evaluation(
        benchmark,
        _about(mode, judgments, questions, baseline, judges),
        results,
        differences,
        notes,
        {},
        list(map(str, rejected)),
    )


def _check(baseline: str | None, models: list[str], judgments: Path) -> None:
    if baseline is not None and baseline not in models:
        raise ConfigError(f"--baseline {baseline!r} is not in {judgments}; its models are {', '.join(models)}.")


def _about(
    mode: Mode, judgments: Path, questions: Path | None, baseline: str | None, judges: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    return {
        "mode": mode,
        "judgments": str(judgments),
        "questions": None if questions is None else str(questions),
        "baseline": baseline,
        "judges": [{"model": model, "prompt": prompt, "judgments": n} for (model, prompt), n in judges.items()],
    }
