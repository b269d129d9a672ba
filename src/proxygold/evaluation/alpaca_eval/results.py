"""What AlpacaEval's annotations say: win rates of all and of each kind of instruction, and differences of models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxygold.errors import ConfigError
from proxygold.evaluation.alpaca_eval.files import AnnotatedModel, discrete_wins, leaderboard_row
from proxygold.evaluation.alpaca_eval.length_controlled import (
    Difficulties,
    length_controlled_differences,
    length_controlled_metric,
)
from proxygold.evaluation.alpaca_eval.length_controlled_official import OFFICIAL, official_metric
from proxygold.evaluation.judges.judging import missing_bounds
from proxygold.evaluation.results import Difference, Metric, ModelResult
from proxygold.evaluation.statistics import grouped_means, mean_metric, paired_differences
from proxygold.records import FloatArray

__all__ = ["LENGTH", "WIN_RATE", "AlpacaEvalResults", "summarise_annotations"]

WIN_RATE = "win_rate"
LENGTH = "average_length"


@dataclass(frozen=True, slots=True)
class AlpacaEvalResults:
    """The metrics of each model, the differences between models, sentences to print, and AlpacaEval's leaderboard."""

    models: Sequence[ModelResult]
    differences: Sequence[Difference]
    notes: Sequence[str]
    leaderboard: Mapping[str, Mapping[str, Any]]


def summarise_annotations(
    models: Sequence[AnnotatedModel], difficulties: Difficulties | None = None, baseline: str | None = None
) -> AlpacaEvalResults:
    """Win rates in percent, with a tie as half a win.

    Differences are on the instructions that both models have a preference for; length-controlled ones on those that all
    have. Raises ConfigError for a baseline that is none of the models, and DataError for instructions without a
    difficulty.
    """
    names = [model.name for model in models]
    if baseline is not None and baseline not in names:
        raise ConfigError(f"--baseline is {baseline!r}, which is none of those compared: {', '.join(names)}.")
    summaries = [_metrics(model, difficulties) for model in models]
    results = [
        ModelResult(model.name, metrics, model.left_out, model.about)
        for model, metrics in zip(models, summaries, strict=True)
    ]
    board = {
        model.name: leaderboard_row(model) | _official_columns(metrics)
        for model, metrics in zip(models, summaries, strict=True)
    }
    notes = [note for model in models for note in _notes(model)]
    return AlpacaEvalResults(results, _differences(models, difficulties, baseline), notes, board)


def _metrics(model: AnnotatedModel, difficulties: Difficulties | None) -> list[Metric]:
    wins, longer = model.wins(), model.longer()
    hard = _difficulties(model, difficulties)
    metrics = [
        _percent(mean_metric(WIN_RATE, wins)),
        length_controlled_metric(wins, longer, hard),
        mean_metric(LENGTH, model.lengths()),
        _percent(mean_metric("discrete_win_rate", discrete_wins(wins), headline=False)),
    ]
    if hard is not None and difficulties is not None and difficulties.gamed is not None:
        answered = ~np.isnan(longer)
        metrics.append(official_metric(wins[answered], longer[answered], hard[answered], difficulties.gamed))
    if np.isnan(wins).any():
        bounds = zip(("lost", "won"), missing_bounds(100.0 * wins, 0.0, 100.0), strict=True)
        metrics += [
            Metric(f"{WIN_RATE}_if_missing_{end}", bound, len(wins), len(wins), headline=False) for end, bound in bounds
        ]
    comparisons = [annotation.comparison for annotation in model.annotations]
    for key, labels in (
        ("query_type", [comparison.query_type for comparison in comparisons]),
        ("dataset", [comparison.dataset for comparison in comparisons]),
    ):
        metrics += map(_percent, grouped_means(WIN_RATE, wins, labels, key))
    return metrics


def _percent(metric: Metric) -> Metric:
    """Of a share. Not of percentages: the mean of those differs from AlpacaEval's in the last digit."""
    shares = (metric.value, metric.low, metric.high, metric.standard_error)
    value, low, high, error = (share * 100 for share in shares)
    return replace(metric, value=value, low=low, high=high, standard_error=error)


def _difficulties(model: AnnotatedModel, difficulties: Difficulties | None) -> FloatArray | None:
    if difficulties is None:
        return None
    return difficulties.of([annotation.comparison.number for annotation in model.annotations])


def _official_columns(metrics: Sequence[Metric]) -> dict[str, float]:
    """AlpacaEval's own columns for its own number; ours is another, and stays out of its file."""
    found = next((metric for metric in metrics if metric.name == OFFICIAL), None)
    if found is None:
        return {}
    return {"length_controlled_winrate": found.value, "lc_standard_error": found.standard_error}


def _differences(
    models: Sequence[AnnotatedModel], difficulties: Difficulties | None, baseline: str | None
) -> list[Difference]:
    if len(models) < 2:
        return []
    places = [{each.comparison.instruction: at for at, each in enumerate(model.annotations)} for model in models]
    # Recorded runs need not be of the same instructions, nor in the same order.
    instructions = list(dict.fromkeys(instruction for place in places for instruction in place))

    def aligned(values: FloatArray, place: Mapping[str, int]) -> FloatArray:
        return np.array([values[place[key]] if key in place else math.nan for key in instructions])

    wins = {model.name: aligned(model.wins(), place) for model, place in zip(models, places, strict=True)}
    longer = {model.name: aligned(model.longer(), place) for model, place in zip(models, places, strict=True)}
    hard = None
    if difficulties is not None:
        numbers = {
            each.comparison.instruction: each.comparison.number for model in models for each in model.annotations
        }
        hard = difficulties.of([numbers[instruction] for instruction in instructions])
    of_wins = paired_differences(WIN_RATE, [(name, 100.0 * values) for name, values in wins.items()], baseline=baseline)
    both = {name: (wins[name], longer[name]) for name in wins}
    return of_wins + length_controlled_differences(both, hard, baseline=baseline)


def _notes(model: AnnotatedModel) -> list[str]:
    notes = []
    wins = model.wins()
    if missing := int(np.isnan(wins).sum()):
        lost, won = missing_bounds(100.0 * wins, 0.0, 100.0)
        notes.append(
            f"{model.name}: {missing:,} of {len(wins):,} have no preference. The win rate would be {lost:.1f} if they "
            f"were all lost, and {won:.1f} if they were all won."
        )
    if empty := sum(each.output is not None and not each.output.strip() for each in model.annotations):
        notes.append(f"{model.name}: {empty:,} answers are empty, and were compared as they are.")
    return notes
