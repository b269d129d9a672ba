"""The win rate that a model would have if its answers were as long as those it is compared with.

Judges prefer long answers (Dubois et al. 2024, Length-Controlled AlpacaEval, https://arxiv.org/abs/2404.04475). A
logistic regression says how much of the preference is due to length; its prediction at a length difference of 0 is
the length-controlled win rate. For instruction i with preference y_i (0 the reference, 1 the model, 0.5 a tie) and
lengths in characters,

    P(y_i = 1) = logistic(c + a tanh((length_i - reference length_i) / s) [+ b difficulty_i])
    length-controlled win rate = mean over i of logistic(c [+ b difficulty_i])

with s the standard deviation of the length differences. tanh, because a little longer matters and much longer matters
hardly more. c, a and b are fitted by maximum likelihood with a normal prior of mean 0 and standard deviation 10 on
each, which only shows where a model wins always, or whenever it is longer. The interval is a percentile bootstrap
over instructions, fitted anew in each draw.

This is AlpacaEval's model without what it takes from other models' annotations; with those at hand, its own fit is in
`length_controlled_official.py`. Difficulties are on AlpacaEval's scale, where they are for its own 805 instructions.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.special import expit

from proxygold.analysis.bootstrap import percentile_interval, prompt_counts
from proxygold.errors import DataError
from proxygold.evaluation.results import Difference, Metric
from proxygold.evaluation.statistics import ALL_EQUAL, DRAWS, INTERVAL
from proxygold.records import FloatArray

__all__ = [
    "LENGTH_CONTROLLED",
    "Difficulties",
    "fit_length",
    "length_controlled_differences",
    "length_controlled_metric",
    "read_difficulties",
]

LENGTH_CONTROLLED = "length_controlled_win_rate"

_PRIOR_VARIANCE = 100.0
_LENGTH = 1  # the column of features that length differences are in
_LONGEST_STEP = 4.0  # Newton's method may otherwise leave for infinity where a model always wins
_MOST_STEPS = 100
_DIFFICULTY = "instruction_difficulty"


@dataclass(frozen=True, slots=True)
class Difficulties:
    """How hard AlpacaEval found each of its instructions to win on, by the instruction's place in its set.

    `gamed`: (m, 3) preference (0 to 1), scaled length difference and difficulty of the annotations of models that were
    told to be short or long, with which AlpacaEval steadies its fit; None in a file that has only difficulties.
    """

    by_number: Mapping[int, float]
    gamed: FloatArray | None = None
    source: str = ""

    def of(self, numbers: list[int]) -> FloatArray:
        """(n,) difficulties. Raises DataError for an instruction that has none."""
        if missing := [number for number in numbers if number not in self.by_number]:
            raise DataError(
                f"{self.source} has no difficulty for instruction {missing[0]} (counted from 0) and {len(missing) - 1} "
                "more. Difficulties are of AlpacaEval's own 805 instructions in their order; leave them out for others."
            )
        return np.array([self.by_number[number] for number in numbers])


def read_difficulties(path: Path) -> Difficulties:
    """AlpacaEval's `df_gamed.csv` or `instruction_difficulty.csv` (of tatsu-lab/alpaca_eval on the hub), also gzipped.

    Raises DataError for anything else.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        index = "index" if rows and "index" in rows[0] else next(iter(rows[0]), "") if rows else ""
        by_number: dict[int, float] = {}
        for row in rows:
            by_number.setdefault(int(row[index]), float(row[_DIFFICULTY]))
        gamed = None
        if rows and {"preference", "std_delta_len"} <= rows[0].keys():
            kept = [row for row in rows if row["preference"]]  # empty: not annotated
            columns = ("preference", "std_delta_len", _DIFFICULTY)
            gamed = np.array([[float(row[column]) for column in columns] for row in kept]).reshape(-1, 3)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"cannot read difficulties from {path}: {type(error).__name__} {error}. Give AlpacaEval's df_gamed.csv or "
            f"instruction_difficulty.csv, which have the columns index and {_DIFFICULTY}."
        ) from error
    if not by_number:
        raise DataError(f"{path} has no rows. Give AlpacaEval's df_gamed.csv or instruction_difficulty.csv.")
    return Difficulties(by_number, gamed, str(path))


def length_controlled_metric(wins: FloatArray, longer: FloatArray, difficulties: FloatArray | None = None) -> Metric:
    """The length-controlled win rate in percent.

    `wins`: (n,) preferences for the model from 0 to 1, NaN without a verdict. `longer`: (n,) characters by which its
    answers are longer than the reference's. `difficulties`: (n,), or None to do without.
    """
    scored = ~np.isnan(wins)
    n = int(scored.sum())
    if n < 2:
        return Metric(LENGTH_CONTROLLED, math.nan, n, len(wins))
    value, draws = _drawn_rates(wins[scored], longer[scored], None if difficulties is None else difficulties[scored])
    if np.ptp(wins[scored]) == 0.0:
        return Metric(LENGTH_CONTROLLED, value, n, len(wins), interval=ALL_EQUAL)
    estimate = percentile_interval(value, draws)
    return Metric(
        LENGTH_CONTROLLED,
        *(value, n, len(wins)),
        low=estimate.low,
        high=estimate.high,
        standard_error=float(draws.std()),
        interval=INTERVAL,
    )


def length_controlled_differences(
    by_model: Mapping[str, tuple[FloatArray, FloatArray]],
    difficulties: FloatArray | None = None,
    *,
    baseline: str | None = None,
) -> list[Difference]:
    """Of each two models the later less the earlier, or each less `baseline`, in percentage points, on the instructions
    for which all of them have a verdict, drawn jointly.

    `by_model`: each model's `wins` and `longer`, as in `length_controlled_metric`, of the same instructions.
    """
    common = np.logical_and.reduce([~np.isnan(wins) for wins, _ in by_model.values()])
    n = int(common.sum())
    if n < 2:
        return []
    hard = None if difficulties is None else difficulties[common]
    rates = {name: _drawn_rates(wins[common], longer[common], hard) for name, (wins, longer) in by_model.items()}
    pairs = (
        [(later, earlier) for earlier, later in combinations(rates, 2)]
        if baseline is None
        else [(model, baseline) for model in rates if model != baseline]
    )
    found = []
    for model, other in pairs:
        (value, draws), (less, less_draws) = rates[model], rates[other]
        estimate = percentile_interval(value - less, draws - less_draws)
        found.append(Difference(LENGTH_CONTROLLED, model, other, estimate.value, estimate.low, estimate.high, n))
    return found


def _drawn_rates(wins: FloatArray, longer: FloatArray, difficulties: FloatArray | None) -> tuple[float, FloatArray]:
    """The length-controlled win rate in percent, and that of each bootstrap draw, (draws,)."""
    features = _features(longer, difficulties)
    equal = features * (np.arange(features.shape[1]) != _LENGTH)
    every = np.ones((1, len(wins)))
    fitted = fit_length(features, wins, every)
    drawn = [
        _rate(fit_length(features, wins, counts, fitted, tolerance=1e-6), equal, counts)
        for counts in prompt_counts(len(wins), DRAWS, 0)
    ]
    return 100.0 * float(_rate(fitted, equal, every)[0]), 100.0 * np.concatenate(drawn)


def fit_length(
    features: FloatArray,
    wins: FloatArray,
    weights: FloatArray,
    start: FloatArray | None = None,
    tolerance: float = 1e-10,
) -> FloatArray:
    """Coefficients (m, k) of m logistic regressions on the same (n, k) features and (n,) preferences from 0 to 1, each
    with its own (m, n) weights, by Newton's method."""
    k = features.shape[1]
    fitted = np.zeros((len(weights), k)) if start is None else np.repeat(start, len(weights), axis=0)
    products = (features[:, :, None] * features[:, None, :]).reshape(-1, k * k)
    prior = np.eye(k) / _PRIOR_VARIANCE
    for _ in range(_MOST_STEPS):
        chance = expit(fitted @ features.T)
        gradient = (weights * (wins - chance)) @ features - fitted / _PRIOR_VARIANCE
        curvature = ((weights * chance * (1.0 - chance)) @ products).reshape(-1, k, k) + prior
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        size = np.abs(step).max(axis=1, keepdims=True)
        fitted = fitted + step * np.minimum(1.0, _LONGEST_STEP / np.maximum(size, 1e-300))
        if size.max() < tolerance:
            break
    return fitted


def _features(longer: FloatArray, difficulties: FloatArray | None) -> FloatArray:
    """(n, 2) or (n, 3): 1, tanh of the length difference in standard deviations, difficulty."""
    spread = float(longer.std(ddof=1)) if len(longer) > 1 else 0.0
    columns = [np.ones(len(longer)), np.tanh(longer / spread) if spread > 0.0 else np.zeros(len(longer))]
    return np.stack([*columns, *([] if difficulties is None else [difficulties])], axis=1)


def _rate(fitted: FloatArray, equal: FloatArray, weights: FloatArray) -> FloatArray:
    """(m,) mean predictions at equal length."""
    rates: FloatArray = (weights * expit(fitted @ equal.T)).sum(axis=1) / weights.sum(axis=1)
    return rates
