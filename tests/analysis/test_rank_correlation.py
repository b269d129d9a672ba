"""Vectorised correlations against scipy.stats, one pair at a time, and against numbers worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from proxygold.analysis.rank_correlation import kendall, order_signs, pearson, permutation_p, spearman

# Few distinct values, so that ties are common.
series = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.data(), series)
def test_correlations_equal_scipy_with_ties(data, x):
    y = data.draw(st.lists(st.integers(-3, 3).map(float), min_size=len(x), max_size=len(x)))
    a, b = np.array(x), np.array(y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(spearman(a, b))
        assert math.isnan(kendall(a, b))
        assert math.isnan(pearson(a, b))
        return
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-9)


def test_many_pairs_at_once_equal_one_by_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 11))
    for together, one in ((spearman, stats.spearmanr), (kendall, stats.kendalltau), (pearson, stats.pearsonr)):
        expected = [one(a, b).statistic for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(together(x, y), expected, atol=1e-12)


def test_spearman_with_a_tie_by_hand():
    # Ranks of x: 1, 2.5, 2.5, 4; of y: 1, 2, 3, 4. Centred: (-1.5, 0, 0, 1.5) and (-1.5, -0.5, 0.5, 1.5).
    # Sum of products 4.5; norms sqrt(4.5) and sqrt(5): 4.5 / sqrt(22.5) = 0.9487.
    assert spearman(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(0.948683298)


def test_sums_that_differ_in_their_last_bits_are_ties():
    x = np.array([0.1 + 0.2, 0.3, 0.5])
    assert x[0] != x[1]
    assert order_signs(x)[0, 1] == 0
    # A constant series with rounding noise has no correlation, instead of a random one.
    assert math.isnan(spearman(x[:2], np.array([1.0, 2.0])))


def test_differences_far_below_the_mean_still_count():
    x = 1e4 + np.array([0.0, 1e-6, 2e-6])
    assert spearman(x, np.array([1.0, 2.0, 3.0])) == pytest.approx(1.0)


def test_permutation_p_equals_trying_every_order():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 6))
    observed = abs(stats.spearmanr(x, y).statistic)
    orders = [abs(stats.spearmanr(x[list(order)], y).statistic) for order in itertools.permutations(range(6))]
    assert permutation_p(x, y, seed=0) == pytest.approx(np.mean([value >= observed - 1e-9 for value in orders]))


def test_permutation_p_is_sampled_above_seven_checkpoints():
    steps = np.arange(11.0)
    # One order of 11! is as extreme each way: none of 10,000 sampled ones, so p is (0 + 1) / (10,000 + 1).
    assert permutation_p(steps, steps, seed=0) == pytest.approx(1 / 10_001)
    y = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
    exact = stats.permutation_test(
        (y,), lambda p: stats.spearmanr(p, steps).statistic, permutation_type="pairings", n_resamples=4000, rng=0
    )
    assert permutation_p(steps, y, seed=0) == pytest.approx(exact.pvalue, abs=0.03)
