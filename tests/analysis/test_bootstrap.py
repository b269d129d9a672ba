"""The bootstrap against a slow loop, and what it does where a statistic is not defined."""

import math

import numpy as np
import pytest

from proxygold.analysis.bootstrap import percentile_interval, prompt_counts, resample_means


def test_a_draw_takes_n_prompts_with_replacement():
    counts = np.concatenate(list(prompt_counts(30, 2_000, seed=0)))
    assert counts.shape == (2_000, 30)
    assert np.all(counts.sum(axis=1) == 30)
    # Each prompt is taken binomial(30, 1/30) times: mean 1, variance 29/30. The standard error of both is below 0.01.
    assert counts.mean() == 1.0
    assert counts.var() == pytest.approx(29 / 30, abs=0.03)
    assert (counts == 0).mean() == pytest.approx((29 / 30) ** 30, abs=0.01)


def test_means_are_those_of_the_drawn_prompts_jointly():
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, 4, 9))
    half = np.arange(9) < 4
    drawn = resample_means(proxy, gold, half, draws=50, seed=5)
    counts = np.concatenate(list(prompt_counts(9, 50, seed=5)))
    for index, count in enumerate(counts):
        taken = np.repeat(np.arange(9), count.astype(int))
        np.testing.assert_allclose(drawn.proxy[index], proxy[:, taken].mean(axis=1))
        np.testing.assert_allclose(drawn.gold[index], gold[:, taken].mean(axis=1))
        np.testing.assert_allclose(drawn.gold_first[index], gold[:, taken[taken < 4]].mean(axis=1))
        np.testing.assert_allclose(drawn.gold_second[index], gold[:, taken[taken >= 4]].mean(axis=1))


def test_blocks_do_not_change_the_draws_of_one_seed():
    first = np.concatenate(list(prompt_counts(805, 300, seed=1)))
    again = np.concatenate(list(prompt_counts(805, 300, seed=1)))
    other = np.concatenate(list(prompt_counts(805, 300, seed=2)))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_the_interval_is_between_percentiles():
    # 0, 1, …, 1000: the 2.5th percentile is 25, the 97.5th 975.
    estimate = percentile_interval(500.0, np.arange(1001.0))
    assert (estimate.low, estimate.high) == pytest.approx((25.0, 975.0))


def test_few_undefined_draws_are_left_out_and_many_leave_no_interval():
    drawn = np.arange(100.0)
    drawn[:4] = np.nan
    assert percentile_interval(50.0, drawn).low == pytest.approx(4 + 0.025 * 95)
    drawn[:6] = np.nan
    estimate = percentile_interval(50.0, drawn)
    assert math.isnan(estimate.low)
    assert not estimate.above_zero
    assert not estimate.below_zero
