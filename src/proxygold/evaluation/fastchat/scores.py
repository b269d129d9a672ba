"""Metrics of FastChat's judgments: of grades their means, of games the adjusted win rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proxygold.evaluation.fastchat.by_question import (
    Judged,
    judgment_mean,
    mean_metrics,
    missing_note,
    question_means,
    repeat_metrics,
)
from proxygold.evaluation.fastchat.judgments import ERROR, Game, Grade
from proxygold.evaluation.results import OVERALL, Difference, Metric
from proxygold.evaluation.statistics import paired_differences

__all__ = ["game_results", "grade_results"]

SCORE, WIN_RATE = "score", "adjusted_win_rate"

# Of each model its metrics; the differences between models; sentences about what is missing.
Results = tuple[dict[str, list[Metric]], list[Difference], list[str]]


def grade_results(
    grades: Mapping[str, Sequence[Grade]], categories: Mapping[str, str], baseline: str | None = None
) -> Results:
    """Mean grades, from 1 to 10, of each model: over all turns (FastChat's average), by turn, by category and both.

    `categories`: of each question, by its id as text. Differences are of a question's mean grade.
    """
    judged = {
        model: [
            Judged(
                str(grade.question_id),
                grade.turn,
                grade.score,
                categories.get(str(grade.question_id)),
                "",
                grade.repeat,
            )
            for grade in found
        ]
        for model, found in grades.items()
    }
    metrics = {model: mean_metrics(SCORE, found) + repeat_metrics(SCORE, found) for model, found in judged.items()}
    notes = [note for model, found in judged.items() if (note := missing_note(model, SCORE, found, 1, 10))]
    return metrics, _differences(SCORE, judged, baseline), notes


def game_results(
    games: Sequence[Game],
    models: Sequence[str],
    names: Mapping[str, str],
    categories: Mapping[str, str],
    baseline: str | None = None,
) -> Results:
    """The adjusted win rate of each model, in percent: its wins and half of its ties, of all games with a result.

    `names`: what each of `models` is called in `games`. With a `baseline` there are only games against it, and the
    models are compared by how they did there; without one each model met all others, and is compared with none.
    """
    metrics: dict[str, list[Metric]] = {}
    judged: dict[str, list[Judged]] = {}
    notes: list[str] = []
    called = {name: model for model, name in names.items()}
    for model in models:
        own = [game for game in games if names[model] in (game.model_1, game.model_2)]
        if model == baseline:
            continue
        judged[model] = found = [_judged(game, names[model], categories, called) for game in own]
        metrics[model] = [*mean_metrics(WIN_RATE, found), *_rates(found), *_order(own, found)]
        metrics[model] += repeat_metrics(WIN_RATE, found)
        if note := missing_note(model, WIN_RATE, found, 0, 100):
            notes.append(note)
    return metrics, _differences(WIN_RATE, judged, None) if baseline is not None else [], notes


def _judged(game: Game, name: str, categories: Mapping[str, str], called: Mapping[str, str]) -> Judged:
    first = game.model_1 == name
    opponent = game.model_2 if first else game.model_1
    value = game.value if first else 1 - game.value
    question = str(game.question_id)
    opponent = called.get(opponent, opponent)
    return Judged(question, game.turn, 100 * value, categories.get(question), opponent, game.repeat)


def _rates(judged: Sequence[Judged]) -> list[Metric]:
    """The shares of games won, tied and lost, in percent."""
    return [
        judgment_mean(
            name,
            [_with(each, np.nan if np.isnan(each.value) else 100.0 * (each.value == value)) for each in judged],
            headline=False,
        )
        for name, value in (("win_rate", 100.0), ("tie_rate", 50.0), ("loss_rate", 0.0))
    ]


def _order(games: Sequence[Game], judged: Sequence[Judged]) -> list[Metric]:
    """How much the order of the two answers mattered, in percent.

    `order_agreement`: games with the same verdict in both orders. `first_shown_won`: of the verdicts for one of the
    answers, those for the one that was shown first; 50 without bias.
    """
    agreement, firsts = [], []
    for game, each in zip(games, judged, strict=True):
        agreement.append(_with(each, np.nan if np.isnan(each.value) else 100.0 * (game.g1_winner == game.g2_winner)))
        for winner, shown_first in ((game.g1_winner, "model_1"), (game.g2_winner, "model_2")):
            decided = winner not in ("tie", ERROR)
            firsts.append(_with(each, 100.0 * (winner == shown_first) if decided else np.nan))
    return [
        judgment_mean("order_agreement", agreement, headline=False),
        judgment_mean("first_shown_won", firsts, headline=False),
    ]


def _with(judged: Judged, value: float) -> Judged:
    return Judged(judged.question, judged.turn, float(value), judged.category, judged.opponent, judged.repeat)


def _differences(name: str, judged: Mapping[str, Sequence[Judged]], baseline: str | None) -> list[Difference]:
    """Paired by question: overall, and by turn where there are several."""
    questions = list(dict.fromkeys(each.question for found in judged.values() for each in found))
    turns = sorted({each.turn for found in judged.values() for each in found})
    groups = [(OVERALL, turns), *(((f"turn={turn}", [turn]) for turn in turns) if len(turns) > 1 else ())]
    found: list[Difference] = []
    for group, chosen in groups:
        values = [
            (model, question_means((each for each in of if each.turn in chosen), questions))
            for model, of in judged.items()
        ]
        found += paired_differences(name, values, baseline=baseline, group=group, headline=group == OVERALL)
    return found
