"""Means of judgments with intervals over questions, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from proxygold.evaluation.fastchat.by_question import (
    Judged,
    judgment_mean,
    mean_metrics,
    missing_note,
    question_means,
    repeat_metrics,
)

JUDGED = [
    Judged("a", 1, 8.0, "math"),
    Judged("a", 2, 6.0, "math"),
    Judged("b", 1, 4.0, "writing"),
    Judged("b", 2, math.nan, "writing"),
]


def test_the_mean_is_over_judgments_and_its_interval_over_questions() -> None:
    metric = judgment_mean("score", JUDGED)
    assert metric.value == 6.0  # (8 + 6 + 4) / 3
    assert (metric.n_scored, metric.n_total) == (3, 4)
    # A draw of two questions is a, a: (8 + 6)/2 = 7; a, b or b, a: 6; b, b: 4; the extremes a quarter each.
    assert (metric.low, metric.high) == (4.0, 7.0)
    assert "over questions" in metric.interval


def test_one_question_has_no_interval_and_none_has_no_mean() -> None:
    metric = judgment_mean("score", JUDGED[:2])
    assert metric.value == 7.0
    assert all(map(math.isnan, (metric.low, metric.high, metric.standard_error)))
    metric = judgment_mean("score", JUDGED[3:])
    assert math.isnan(metric.value)
    assert (metric.n_scored, metric.n_total) == (0, 1)


def test_groups() -> None:
    found = {metric.group: (metric.value, metric.n_scored, metric.n_total) for metric in mean_metrics("score", JUDGED)}
    nan = found.pop("category=writing,turn=2")
    assert math.isnan(nan[0])
    assert found == {
        "": (6.0, 3, 4),
        "turn=1": (6.0, 2, 2),
        "turn=2": (6.0, 1, 2),
        "category=math": (7.0, 2, 2),
        "category=writing": (4.0, 1, 2),
        "category=math,turn=1": (8.0, 1, 1),
        "category=math,turn=2": (6.0, 1, 1),
        "category=writing,turn=1": (4.0, 1, 1),
    }
    # One turn is no group, nor are questions without a category.
    assert [metric.group for metric in mean_metrics("score", [Judged("a", 1, 8.0)])] == [""]


def test_question_means() -> None:
    np.testing.assert_array_equal(question_means(JUDGED, ["b", "c", "a"]), [4.0, math.nan, 7.0])


def test_how_much_a_judge_disagrees_with_itself() -> None:
    judged = [
        Judged("a", 1, 8.0, repeat=1),
        Judged("b", 1, 5.0, repeat=1),
        Judged("c", 1, math.nan, repeat=1),
        Judged("a", 1, 6.0, repeat=2),
        Judged("b", 1, 5.0, repeat=2),
        Judged("c", 1, 9.0, repeat=2),
    ]
    noise, spread = repeat_metrics("score", judged)
    # Variances with n - 1: of 8 and 6, 2; of 5 and 5, 0; c was judged once. sqrt((2 + 0)/2) = 1.
    assert (noise.name, noise.value, noise.n_scored, noise.n_total) == ("score_judge_sd", 1.0, 2, 3)
    # Means (8 + 5)/2 = 6.5 and (6 + 5 + 9)/3 = 20/3: they differ by 1/6, and sd of two is their difference / sqrt(2).
    assert spread.name == "score_sd_over_repeats"
    assert spread.value == pytest.approx((20 / 3 - 6.5) / math.sqrt(2))
    assert repeat_metrics("score", JUDGED) == []


def test_what_is_missing_bounds_the_mean() -> None:
    # (8 + 6 + 4 + 1)/4 = 4.75 and (8 + 6 + 4 + 10)/4 = 7.
    assert missing_note("m", "score", JUDGED, 1, 10) == (
        "m: 1 of 4 judgments are missing. Were all of them 1, score would be 4.75; were all 10, 7."
    )
    assert missing_note("m", "score", JUDGED[:3], 1, 10) is None
