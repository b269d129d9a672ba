"""Means, ratios and differences with their intervals, against arithmetic by hand and another bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from proxygold.errors import ConfigError
from proxygold.evaluation.statistics import (
    ALL_EQUAL,
    INTERVAL,
    grouped_means,
    mean_metric,
    paired_differences,
    statistic_metric,
)

NAN = math.nan


def test_a_mean_is_of_what_was_scored_and_says_of_how_many() -> None:
    metric = mean_metric("wins", np.array([1.0, 0.0, NAN, 1.0, 1.0, NAN]))
    # 3 of 4; variance with n - 1: (3 x 0.25² + 0.75²) / 3 = 0.25, so the error is 0.5 / √4.
    assert (metric.value, metric.standard_error) == (0.75, pytest.approx(0.25))
    assert (metric.n_scored, metric.n_total, metric.interval) == (4, 6, INTERVAL)
    assert 0.0 <= metric.low < 0.75 < metric.high <= 1.0


def test_the_interval_is_that_of_another_bootstrap() -> None:
    values = np.random.default_rng(5).gamma(2.0, size=60)
    metric = mean_metric("length", values)
    rng = np.random.default_rng(7)
    means = [rng.choice(values, size=60).mean() for _ in range(4000)]
    width = metric.high - metric.low
    assert [metric.low, metric.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.05 * width)
    # 2 x 1.96 standard errors, nearly: sums of 60 are close to normal.
    assert width == pytest.approx(3.92 * metric.standard_error, rel=0.05)
    assert mean_metric("length", values) == metric  # the draws are always the same


def test_few_distinct_values_are_drawn_faster_and_alike() -> None:
    wins = np.array([0.0] * 500 + [0.5] * 100 + [1.0] * 205)
    metric = mean_metric("wins", wins)
    # 255 of 805; E[x²] = (25 + 205) / 805 = 0.28571, less 0.31677² is 0.18537; √(0.18537 / 805) = 0.015175.
    assert (metric.value, metric.standard_error) == (pytest.approx(0.316770), pytest.approx(0.015175, rel=2e-3))
    apart = mean_metric("wins", wins + np.linspace(0, 1e-9, 805))  # 805 distinct values: item by item
    assert [metric.low, metric.high] == pytest.approx([apart.low, apart.high], abs=0.0015)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        metric = mean_metric("x", rng.normal(3.0, 1.0, size=40))
        held += metric.low <= 3.0 <= metric.high
    assert 88 <= held <= 100  # 95 of 100, give or take three times √(100 x 0.95 x 0.05)


@pytest.mark.parametrize(("values", "value", "scored"), [([], NAN, 0), ([NAN, NAN], NAN, 0), ([2.0, NAN], 2.0, 1)])
def test_without_two_scores_there_is_no_interval(values: list[float], value: float, scored: int) -> None:
    metric = mean_metric("x", np.array(values))
    assert metric.value == pytest.approx(value, nan_ok=True)
    assert (metric.n_scored, metric.n_total) == (scored, len(values))
    assert all(map(math.isnan, (metric.low, metric.high, metric.standard_error)))


def test_equal_scores_have_no_interval_of_width_zero() -> None:
    metric = mean_metric("x", np.ones(30))
    assert (metric.value, metric.standard_error, metric.interval) == (1.0, 0.0, ALL_EQUAL)
    assert math.isnan(metric.low)


def test_a_ratio_of_sums_is_not_a_mean_of_ratios() -> None:
    # Right and asked, by task: 1 of 1 and 1 of 3 are 2 of 4; their mean would be 2/3.
    counts = np.array([[1.0, 1.0], [1.0, 3.0]])
    metric = statistic_metric("accuracy", counts, lambda sums: sums[:, 0] / sums[:, 1], n_total=5)
    assert (metric.value, metric.n_scored, metric.n_total) == (0.5, 2, 5)
    # A draw has both, or one of them twice: 1/4 of the draws each give 1/3 and 1.
    assert (metric.low, metric.high) == (pytest.approx(1 / 3), 1.0)
    assert math.isnan(statistic_metric("accuracy", np.empty((0, 2)), lambda sums: sums[:, 0]).value)


def test_groups_are_sorted_and_rows_without_one_are_in_none() -> None:
    found = grouped_means("right", np.array([1.0, 0.0, 1.0, NAN]), ["math", None, "chat", "math"], "category")
    assert [(metric.group, metric.value, metric.n_scored, metric.n_total) for metric in found] == [
        ("category=chat", 1.0, 1, 1),
        ("category=math", 1.0, 1, 2),
    ]
    assert not any(metric.headline for metric in found)


def test_differences_are_paired() -> None:
    hard = np.random.default_rng(1).normal(0.0, 10.0, size=200)
    models = [("old", hard), ("new", hard + np.random.default_rng(2).normal(0.5, 0.1, size=200))]
    models[0][1][0] = NAN
    (difference,) = paired_differences("score", models)
    assert (difference.model, difference.baseline, difference.n) == ("new", "old", 199)
    # Half a point is found under a spread of 10, because both answered the same questions.
    assert 0.45 < difference.low < difference.value < difference.high < 0.55
    assert difference.significant
    alone = mean_metric("score", models[1][1])
    assert alone.high - alone.low > 2.0
    (back,) = paired_differences("score", models, baseline="new")
    assert (back.model, back.value) == ("old", pytest.approx(-difference.value))


def test_each_pair_of_models_or_each_with_the_baseline() -> None:
    models = [(name, np.array([value, value + 1.0, value])) for value, name in enumerate("abc")]
    pairs = [(found.model, found.baseline, found.value) for found in paired_differences("x", models)]
    assert pairs == [("b", "a", 1.0), ("c", "a", 2.0), ("c", "b", 1.0)]
    pairs = [(found.model, found.baseline, found.value) for found in paired_differences("x", models, baseline="b")]
    assert pairs == [("a", "b", -1.0), ("c", "b", 1.0)]
    assert paired_differences("x", models[:1]) == []
    with pytest.raises(ConfigError, match="the baseline 'd' is none of those compared: a, b, c"):
        paired_differences("x", models, baseline="d")
