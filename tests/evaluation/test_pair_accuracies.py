"""Accuracies of subsets, sections and pools: by hand, by a loop over drawn pairs, and against the paper's table."""

from __future__ import annotations

import numpy as np
import pytest

from proxygold.analysis.bootstrap import prompt_counts
from proxygold.evaluation.reward_bench.accuracies import MEAN, POOLED, measure_rewards
from proxygold.evaluation.reward_bench.pair_accuracies import Aggregate, PairBootstrap
from proxygold.evaluation.reward_bench.sections import PAIRS, SECTIONS
from proxygold.evaluation.statistics import ALL_EQUAL, DRAWS

SUBSETS = ["hep-python"] * 2 + ["math-prm"] * 4 + ["alpacaeval-easy"] * 3 + ["mine"]
RIGHT = np.array([1, 0, 1, 1, 1, 0, 1, 0, 0, 1], dtype=np.float64)
# Words of the chosen and of the rejected answer. Matched (at most 1.2 times as long): the pairs 0, 3, 6 and 9.
LENGTHS = np.array(
    [[6, 5], [2, 1], [1, 2], [10, 10], [3, 9], [4, 1], [11, 12], [1, 8], [8, 1], [100, 101]], dtype=np.float64
)
PROMPTS = [str(number) for number in range(10)]


def measure(right: np.ndarray = RIGHT, prompts: list[str] = PROMPTS) -> dict[tuple[str, str], object]:
    metrics, _ = measure_rewards({"r": right}, SUBSETS, prompts, LENGTHS)
    return {(metric.group, metric.name): metric for metric in metrics["r"]}


def test_pools_sections_and_their_mean_by_hand() -> None:
    found = measure()
    expected = {
        POOLED: 60.0,  # 6 of 10
        # math-prm 3 of 4 with weight 984, hep-python 1 of 2 with weight 164: (738 + 82) / 1148 = 5/7
        "section=Reasoning": 500 / 7,
        "section=Chat": 100 / 3,
        MEAN: 100 * (5 / 7 + 1 / 3) / 2,  # without the pair that is in no section
        "subset=math-prm": 75.0,
        "subset=mine": 100.0,
    }
    for group, value in expected.items():
        assert found[group, "accuracy"].value == pytest.approx(value), group
    assert (found[POOLED, "accuracy"].n_scored, found[MEAN, "accuracy"].n_scored) == (10, 9)
    # Longer is chosen in the pairs 0, 1, 5 and 8; shorter in 2, 4, 6, 7 and 9; pair 3 is a tie, which is no win.
    assert [found[POOLED, name].value for name in ("longest", "shortest", "random")] == [40.0, 50.0, 50.0]
    # Of the matched pairs 0, 3, 6 and 9 all are right.
    matched = found[POOLED, "length-matched"]
    assert (matched.value, matched.n_scored, matched.n_total) == (100.0, 4, 4)
    assert found["section=Chat", "length-matched"].n_total == 1
    # A subset is a headline only where there are no sections.
    assert not found["subset=mine", "accuracy"].headline
    assert found["section=Chat", "longest"].headline


def test_what_is_not_scored_is_left_out_of_the_baselines_too() -> None:
    right = RIGHT.copy()
    right[[0, 1, 9]] = np.nan  # all of hep-python, and pair 9
    found = measure(right)
    assert found[POOLED, "accuracy"].value == pytest.approx(100 * 4 / 7)
    assert (found[POOLED, "accuracy"].n_scored, found[POOLED, "accuracy"].n_total) == (7, 10)
    assert found["section=Reasoning", "accuracy"].value == pytest.approx(75.0)  # math-prm alone
    assert found[POOLED, "longest"].value == pytest.approx(100 * 2 / 7)  # the pairs 5 and 8
    assert (found[POOLED, "length-matched"].n_scored, found[POOLED, "length-matched"].n_total) == (2, 4)
    assert np.isnan(found["subset=hep-python", "accuracy"].value)
    assert found["subset=hep-python", "accuracy"].n_total == 2


def test_draws_are_those_of_a_loop_over_drawn_prompts() -> None:
    prompts = ["p", "q", "q", "r", "s", "s", "t", "t", "u", "v"]
    order = list(dict.fromkeys(prompts))
    right = RIGHT.copy()
    right[4] = np.nan
    weights = {"hep-python": 164.0, "math-prm": 984.0}
    aggregates = [
        Aggregate("all", (frozenset(SUBSETS),)),
        Aggregate("reasoning", (weights,)),
        Aggregate("mean", (weights, {"alpacaeval-easy": 100.0})),
    ]
    [found] = PairBootstrap(SUBSETS, prompts, draws=200).accuracies([right], aggregates)
    expected = []
    for row in np.concatenate(list(prompt_counts(len(order), 200, 0))):
        times = {prompt: int(count) for prompt, count in zip(order, row, strict=True)}
        drawn: dict[str, list[float]] = {}
        for subset, prompt, value in zip(SUBSETS, prompts, right, strict=True):
            if not np.isnan(value):
                drawn.setdefault(subset, []).extend([value] * times[prompt])
        drawn = {subset: values for subset, values in drawn.items() if values}
        pooled = [value for values in drawn.values() for value in values]
        here = {subset: weight for subset, weight in weights.items() if subset in drawn}
        reasoning = (
            sum(weight * np.mean(drawn[subset]) for subset, weight in here.items()) / sum(here.values())
            if here
            else np.nan
        )
        chat = np.mean(drawn["alpacaeval-easy"]) if "alpacaeval-easy" in drawn else np.nan
        sections = [value for value in (reasoning, chat) if not np.isnan(value)]
        expected.append([np.mean(pooled) if pooled else np.nan, reasoning, np.mean(sections) if sections else np.nan])
    np.testing.assert_allclose(found.drawn, expected, atol=1e-12)
    assert found.n.tolist() == [9, 5, 8]


def test_copies_of_a_prompt_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(3)
    once = (rng.random(40) < 0.7).astype(np.float64)
    prompts = [str(number) for number in range(40) for _ in range(25)]
    [many] = PairBootstrap(["s"] * 1000, prompts).accuracies(
        [np.repeat(once, 25)], [Aggregate("all", (frozenset({"s"}),))]
    )
    alone = np.concatenate([counts @ once / 40 for counts in prompt_counts(40, DRAWS, 0)])
    np.testing.assert_allclose(many.drawn[:, 0], alone)


def test_a_coin_strays_as_binomial_luck_does() -> None:
    bootstrap = PairBootstrap(["s"] * 400, range(400))
    counted = np.arange(400) < 100
    coin = bootstrap.coin(counted, [Aggregate("all", (frozenset({"s"}),))])
    assert coin.values.tolist() == [0.5]
    assert coin.n.tolist() == [100]
    # The standard deviation of a share of 100 tosses is 0.05.
    assert coin.drawn[:, 0].std() == pytest.approx(0.05, rel=0.05)
    assert len(coin.drawn) == DRAWS


def test_a_difference_is_of_the_pairs_that_both_scored() -> None:
    one, two = RIGHT.copy(), np.ones(10)
    one[0], two[1] = np.nan, np.nan
    _, [pooled, mean, *_] = measure_rewards({"one": one, "two": two}, SUBSETS, PROMPTS, LENGTHS)
    # Of the pairs 2 to 9 one is right in five, two in all eight.
    assert (pooled.model, pooled.baseline, pooled.group, pooled.n) == ("two", "one", POOLED, 8)
    assert pooled.value == pytest.approx(100 * 3 / 8)
    assert pooled.low < pooled.value < pooled.high
    assert (mean.group, mean.n) == (MEAN, 7)
    _, differences = measure_rewards({"one": one, "two": two}, SUBSETS, PROMPTS, LENGTHS, baseline="two")
    assert {(each.model, each.baseline) for each in differences} == {("one", "two")}
    assert differences[0].value == pytest.approx(-100 * 3 / 8)


def test_data_without_sections_has_none() -> None:
    metrics, _ = measure_rewards({"r": RIGHT[:4]}, ["a", "a", "b", "b"], PROMPTS[:4], LENGTHS[:4])
    assert {metric.group for metric in metrics["r"]} == {POOLED, "subset=a", "subset=b"}
    assert all(metric.headline for metric in metrics["r"])


def test_where_all_are_right_there_is_no_interval() -> None:
    found = measure(np.ones(10))[POOLED, "accuracy"]
    assert (found.value, found.interval) == (100, ALL_EQUAL)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_subsets_are_those_of_the_benchmark() -> None:
    sizes = {section: sum(PAIRS[subset] for subset in weights) for section, weights in SECTIONS.items()}
    assert sizes == {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1431}
    assert sum(PAIRS.values()) == 2985
    # Mathematics weighs as much as the six languages.
    reasoning = SECTIONS["Reasoning"]
    assert reasoning["math-prm"] == sum(weight for subset, weight in reasoning.items() if subset != "math-prm")
    # Kim and Seo 2024, table 5: each overall is its four sections, each with the number of its pairs.
    table = {
        (97.2, 57.0, 60.0, 73.8): 70.6,
        (97.5, 55.7, 86.5, 90.6): 85.1,
        (77.7, 32.0, 41.5, 57.7): 52.2,
        (83.5, 32.0, 41.1, 54.4): 51.2,
        (83.5, 32.5, 41.4, 42.0): 45.4,
        (80.2, 46.3, 62.3, 57.0): 59.5,
    }
    for sections, overall in table.items():
        pooled = sum(value * size for value, size in zip(sections, sizes.values(), strict=True)) / 2985
        assert pooled == pytest.approx(overall, abs=0.051)
