"""`match`: refused until measured, and what measuring makes of it."""

import math

import numpy as np
import pytest

from proxygold import Example, Reward, feature, reward
from proxygold.errors import RewardError

feature("relevance")(lambda example: example.columns["relevance"])
feature("target")(lambda example: example.columns["target"])


def rows(relevance: list[float], target: list[float]) -> list[Example]:
    return [Example("q", "c", columns={"relevance": a, "target": b}) for a, b in zip(relevance, target, strict=True)]


# 0, 1, ... 100: the 95th percentile of the first is 95, of the second 9.5.
HUNDRED = rows([float(i) for i in range(101)], [i / 10 for i in range(101)])


def test_an_unmeasured_match_refuses_to_score_and_says_how_to_measure() -> None:
    made = reward("LI + match(relevance, target)")
    assert not made.resolved
    with pytest.raises(RewardError) as caught:
        made.score(HUNDRED)
    assert str(caught.value) == (
        "match(relevance, target) has not been measured, so this reward cannot score yet. Measure it with "
        "reward.calibrate(examples), on completions of the policy that training starts from, or put numbers of your own: "
        "rescale(relevance, 0, highest, 0, new_highest)."
    )


def test_measured_it_is_a_rescale_with_its_numbers() -> None:
    made = reward("match(relevance, target)").calibrate(HUNDRED)
    assert made.resolved
    assert str(made) == "rescale(relevance, 0.0, 95.0, 0.0, 9.5)"
    # 0 stays 0, the percentile goes to the percentile, the line goes on above: 190 -> 19
    assert made.score(rows([0, 95, 190], [0, 0, 0])).total.tolist() == [0, 9.5, 19]


def test_a_negative_relevance_counts_as_zero_and_never_turns_rp_around() -> None:
    made = reward("RP * match(relevance, target)").calibrate(HUNDRED)
    repeated = Example("q", "a a a a a a", columns={"relevance": -50.0, "target": 0})
    varied = Example("q", "a b c d e f", columns={"relevance": -50.0, "target": 0})
    assert made.score([repeated, varied]).total.tolist() == [0, 0]


def test_what_is_below_zero_takes_part_in_the_percentile() -> None:
    # -40 ... 60: position 95 of 0..100 is 55.
    made = reward("match(relevance, target)").calibrate(
        rows([float(i - 40) for i in range(101)], [float(i) for i in range(101)])
    )
    assert str(made) == "rescale(relevance, 0.0, 55.0, 0.0, 95.0)"


def test_the_percentile_lies_between_rows_where_it_must() -> None:
    # 20 rows: position 0.95 * 19 = 18.05, between 18 and 19
    made = reward("match(relevance, target)").calibrate(rows([float(i) for i in range(20)], [1.0] * 20))
    assert str(made) == "rescale(relevance, 0.0, 18.05, 0.0, 1.0)"


def test_only_rows_with_both_values_count() -> None:
    broken = rows([1e6] * 10, [math.nan] * 10) + rows([math.nan] * 10, [1e6] * 10)
    assert (
        str(reward("match(relevance, target)").calibrate(HUNDRED + broken)) == "rescale(relevance, 0.0, 95.0, 0.0, 9.5)"
    )


def test_numbers_keep_six_digits() -> None:
    made = reward("match(relevance, target)").calibrate(rows([1 / 3] * 20, [2e-7 / 3] * 20))
    assert str(made) == "rescale(relevance, 0.0, 0.333333, 0.0, 6.66667e-08)"


def test_every_match_is_measured_inner_ones_first() -> None:
    made = reward("match(match(relevance, target), relevance) + match(target, relevance)").calibrate(HUNDRED)
    assert str(made) == (
        "rescale(rescale(relevance, 0.0, 95.0, 0.0, 9.5), 0.0, 9.5, 0.0, 95.0) + rescale(target, 0.0, 9.5, 0.0, 95.0)"
    )


def test_a_match_in_a_branch_is_measured_on_all_completions() -> None:
    made = reward("branch(open_ended=target, closed_ended=match(relevance, target))").calibrate(HUNDRED)
    assert str(made) == "branch(open_ended=target, closed_ended=rescale(relevance, 0.0, 95.0, 0.0, 9.5))"


def test_a_reward_without_match_stays_as_it_is() -> None:
    made = reward("LI * RP")
    assert made.resolved
    assert made.calibrate([]) == made


def test_too_few_rows() -> None:
    made: Reward = reward("match(AR, LI)")
    with pytest.raises(RewardError) as caught:
        made.calibrate([Example("q", "c")] * 30)
    assert str(caught.value) == (
        "match(AR, LI) cannot be measured: 0 of 30 completions can be scored, and at least 20 are needed. The first that "
        "cannot be scored: AR: the example has no reference. Calibrate on more completions, with references and query "
        "types where needed."
    )
    with pytest.raises(RewardError, match="19 of 19 completions can be scored, and at least 20"):
        reward("match(relevance, target)").calibrate(HUNDRED[:19])
    with pytest.raises(RewardError, match="0 of 0 completions"):
        reward("match(relevance, target)").calibrate([])


@pytest.mark.parametrize(
    ("relevance", "target", "part"),
    [([0.0] * 20, [1.0] * 20, "relevance is 0.0"), ([1.0] * 20, [-1.0] * 20, "target is -1.0")],
)
def test_a_percentile_that_is_not_above_zero(relevance: list[float], target: list[float], part: str) -> None:
    with pytest.raises(RewardError, match=f"the 95th percentile of {part}, and it must be above 0. Calibrate on"):
        reward("match(relevance, target)").calibrate(rows(relevance, target))


def test_agrees_with_the_definition_on_random_numbers() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(1, 1, 300), random.exponential(2, 300)
    made = reward("match(relevance, target)").calibrate(rows(a.tolist(), b.tolist()))
    new = random.normal(0, 2, 50)
    expected = np.maximum(new, 0) * np.quantile(b, 0.95) / np.quantile(a, 0.95)
    np.testing.assert_allclose(made.score(rows(new.tolist(), [0.0] * 50)).total, expected, rtol=1e-5)
