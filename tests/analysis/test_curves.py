"""The curves of the report: standardised, banded, averaged over seeds."""

import numpy as np
import pytest

from proxygold.analysis.curves import reward_curves
from proxygold.analysis.scores import ArmScores


def arm(seed, proxy, gold, steps=(0, 10, 20), ids=("a", "b", "c", "d")):
    types = tuple("open_ended" if i % 2 else "closed_ended" for i in range(len(ids)))
    return ArmScores("R", seed, tuple(steps), tuple(ids), types, np.array(proxy, float), np.array(gold, float), {})


def test_lines_are_standardised_over_checkpoints():
    proxy = np.array([0.0, 1.0, 5.0])[:, None] + np.array([0.0, 10.0, 20.0, 30.0])
    curves = reward_curves([arm(0, proxy, -proxy)])
    # Means 15, 16, 20: average 17, standard deviation sqrt((4 + 1 + 9) / 3) = 2.1602.
    np.testing.assert_allclose(curves.proxy.line, np.array([-2, -1, 3]) / np.sqrt(14 / 3))
    np.testing.assert_allclose(curves.gold.line, -curves.proxy.line)
    np.testing.assert_allclose(curves.proxy.means, [15, 16, 20])
    # Prompts differ in level and not in shape, so other prompts would not change the shape: no band.
    np.testing.assert_allclose(curves.proxy.high, curves.proxy.low, atol=1e-9)


def test_bands_widen_with_noise_and_hold_the_line():
    rng = np.random.default_rng(0)
    ids = tuple(map(str, range(60)))
    curves = reward_curves(
        [arm(0, rng.normal(size=(3, 60)), rng.normal(size=(3, 60)) + np.arange(3.0)[:, None], ids=ids)]
    )
    assert np.all(curves.gold.low < curves.gold.line)
    assert np.all(curves.gold.line < curves.gold.high)
    # The gain at step 0 is zero in every draw.
    for curve in curves.gold_by_type.values():
        assert (curve.line[0], curve.low[0], curve.high[0]) == (0, 0, 0)
        assert curve.low[2] < curve.line[2] < curve.high[2]


def test_seeds_are_averaged_over_what_all_of_them_have():
    proxy = np.arange(12.0).reshape(3, 4)
    other = proxy[:2] + 2
    other[0, 3] = np.nan
    curves = reward_curves([arm(0, proxy, proxy), arm(1, other, other, steps=(0, 10))])
    assert curves.steps == (0, 10)
    assert curves.prompts == 3  # the fourth has no score in seed 1
    # Prompts 0 to 2: means 1 and 5 in seed 0, 3 and 7 in seed 1.
    np.testing.assert_allclose(curves.proxy.means, [2, 6])
    assert [seed.seed for seed in curves.seeds] == [0, 1]
    np.testing.assert_allclose(curves.seeds[0].proxy, (np.array([1, 5]) - 4) / 2)


def test_a_reward_that_never_moves_is_a_flat_line():
    curves = reward_curves([arm(0, np.ones((3, 4)), np.arange(12.0).reshape(3, 4))])
    np.testing.assert_array_equal(curves.proxy.line, [0, 0, 0])


def test_no_common_prompt_gives_empty_curves():
    curves = reward_curves([arm(0, np.full((3, 4), np.nan), np.ones((3, 4)))])
    assert curves.prompts == 0
    assert np.all(np.isnan(curves.gold.line))
    assert curves.proxy.means == pytest.approx([np.nan] * 3, nan_ok=True)
