import math

import pytest

from proxygold.training.pair_accuracy import measure_accuracy, wilson_interval


def test_the_table_by_hand():
    table = measure_accuracy(
        chosen=[2.0, 1.0, 0.5, 3.0, float("nan")],
        rejected=[1.0, 2.0, 0.5, 1.0, 0.0],
        chosen_lengths=[100, 10, 50, 30, 12],
        rejected_lengths=[50, 12, 61, 30, 6],
        sources=["hh", "hh", "oasst", "oasst", "hh"],
    )
    # Right, wrong, a tie (half), right, and a NaN that counts as wrong: 2.5 of 5.
    assert (table.overall.n, table.overall.value) == (5, 0.5)
    # The longer is chosen in rows 1 and 5, of equal length (half) in row 4: 2.5 of 5.
    assert table.longer_is_better.value == 0.5
    # 12 / 10 is exactly 1.2 and 30 / 30 is 1: matched. 61 / 50 is 1.22, 100 / 50 and 12 / 6 are 2: not. Wrong and right.
    assert (table.matched.n, table.matched.value) == (2, 0.5)
    # hh: right, wrong, wrong. oasst: half, right.
    assert [(row.name, row.n, row.value) for row in table.by_source] == [
        ("hh", 3, pytest.approx(1 / 3)),
        ("oasst", 2, 0.75),
    ]
    assert [row.name for row in table.rows()][3:] == ["hh", "oasst"]


def test_wilson_against_published_numbers():
    # Newcombe (1998), table I, method 3: 81 of 263 is 0.2553 to 0.3662, 15 of 148 is 0.0624 to 0.1605.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    # 0 of 20 is 0 to 0.1611.
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_no_pairs_is_nan_not_zero():
    low, high = wilson_interval(math.nan, 0)
    assert math.isnan(low)
    assert math.isnan(high)
    table = measure_accuracy([1.0], [0.0], [10], [30], ["a"])
    assert table.matched.n == 0
    assert math.isnan(table.matched.value)
