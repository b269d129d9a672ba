"""The drawdown of gold: its cross-fit, its bar, and that luck does not make one."""

import numpy as np
import pytest

from proxygold.analysis.bootstrap import resample_means
from proxygold.analysis.drawdown import drawdown, halves


def measure(gold, seed=0):
    first = halves(gold.shape[1], seed)
    drawn = resample_means(gold, gold, first, draws=500, seed=seed)
    return drawdown(gold, np.arange(len(gold)) * 10, first, drawn)


def exact(means, n=100, spread=1.0):
    """Every prompt moves alike, so estimates are exact; `spread` is the standard deviation over prompts."""
    ease = np.tile([-1.0, 1.0], n // 2)
    return spread * ease / ease.std(ddof=1) + np.asarray(means, dtype=float)[:, None]


def test_fall_and_rise_are_measured_at_the_peak():
    result = measure(exact([0, 1, 3, 2, 2.5, 2.4]))
    assert result.peaks == (20, 20)
    assert result.fall.value == pytest.approx(0.6)  # 3 - 2.4
    assert result.rise.value == pytest.approx(3.0)
    assert result.bar == pytest.approx(0.3)  # 10% of 3
    assert result.counts


def test_a_certain_fall_below_a_tenth_of_the_rise_does_not_count():
    result = measure(exact([0, 1, 3, 2.9, 2.8, 2.75]))
    assert result.fall.value == pytest.approx(0.25)
    assert result.fall.above_zero
    assert not result.counts


def test_without_a_rise_the_bar_is_golds_spread_at_step_0():
    # A fall of 0.15 against a tenth of the spread: 0.1 lets it count, 0.2 does not.
    assert measure(exact([0, -0.05, -0.1, -0.1, -0.1, -0.15], spread=1.0)).counts
    wide = measure(exact([0, -0.05, -0.1, -0.1, -0.1, -0.15], spread=2.0))
    assert wide.bar == pytest.approx(0.2)
    assert "because gold never rose" in wide.bar_is
    assert not wide.counts


def test_cross_fitting_takes_the_luck_out_of_the_peak():
    """Flat gold: the fall from the observed peak is positive on average, the cross-fitted one is not."""
    rng = np.random.default_rng(0)
    naive, fitted = [], []
    for seed in range(300):
        gold = rng.normal(size=(8, 60))
        means = gold.mean(axis=1)
        naive.append(means.max() - means[-1])
        fitted.append(measure(gold, seed).fall.value)
    # Standard error of a mean of 300 falls of about sqrt(2 / 60) = 0.18 each is 0.01.
    assert np.mean(naive) > 0.15
    assert abs(np.mean(fitted)) < 0.04
