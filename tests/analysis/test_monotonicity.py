"""The analysis of one training run: against slow references, by simulation, and at its edges."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from proxygold.analysis.drawdown import halves
from proxygold.analysis.monotonicity import monotonicity
from proxygold.errors import DataError

STEPS = np.arange(7) * 20


def scores(shape, n, rng, *, noise=1.0, ease=None):
    """(k, n) scores whose means follow `shape`; prompts differ in ease, at every checkpoint alike."""
    ease = rng.normal(size=n) if ease is None else ease
    return ease + np.asarray(shape, dtype=float)[:, None] + noise * rng.normal(size=(len(shape), n))


def test_everything_equals_a_slow_independent_reference():
    rng = np.random.default_rng(3)
    proxy, gold = scores(np.linspace(0, 1, 7), 40, rng), scores([0, 0.5, 1, 1, 0.7, 0.5, 0.2], 40, rng)
    result = monotonicity(proxy, gold, STEPS, draws=400, seed=11)
    means = proxy.mean(axis=1), gold.mean(axis=1)
    assert result.spearman.value == pytest.approx(stats.spearmanr(*means).statistic)
    assert result.kendall == pytest.approx(stats.kendalltau(*means).statistic)
    assert result.pearson == pytest.approx(stats.pearsonr(*means).statistic)

    # The same draws as a loop. The generator's key and the halves are part of what a seed means.
    generator = np.random.default_rng([11, 1])
    first = np.flatnonzero(halves(40, 11))
    second = np.setdiff1d(np.arange(40), first)
    peak_first, peak_second = gold[:, first].mean(axis=1).argmax(), gold[:, second].mean(axis=1).argmax()

    def fall(in_first, in_second):
        on_first = np.mean([gold[peak_second, i] - gold[-1, i] for i in in_first])
        on_second = np.mean([gold[peak_first, i] - gold[-1, i] for i in in_second])
        return (on_first + on_second) / 2

    rhos, gains, falls = [], [], []
    for taken in generator.integers(0, 40, size=(400, 40)):
        a, b = proxy[:, taken].mean(axis=1), gold[:, taken].mean(axis=1)
        rhos.append(stats.spearmanr(a, b).statistic)
        gains.append(b[-1] - b[0])
        falls.append(fall([i for i in taken if i in first], [i for i in taken if i in second]))
    for estimate, drawn in ((result.spearman, rhos), (result.gold_gain, gains), (result.drawdown.fall, falls)):
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert result.drawdown.fall.value == pytest.approx(fall(first, second))
    assert result.gold_gain.value == pytest.approx(np.mean(gold[-1] - gold[0]))


def test_the_gain_interval_agrees_with_a_paired_t_interval():
    rng = np.random.default_rng(4)
    proxy, gold = scores(np.linspace(0, 1, 7), 400, rng), scores(np.linspace(0, 0.3, 7), 400, rng)
    gain = monotonicity(proxy, gold, STEPS, draws=4_000).gold_gain
    difference = gold[-1] - gold[0]
    low, high = stats.t.interval(0.95, 399, difference.mean(), stats.sem(difference))
    assert gain.low == pytest.approx(low, abs=0.02)
    assert gain.high == pytest.approx(high, abs=0.02)


def test_the_same_seed_gives_the_same_result_and_another_does_not():
    rng = np.random.default_rng(5)
    proxy, gold = scores(np.linspace(0, 1, 7), 64, rng), scores(np.linspace(0, 0.3, 7), 64, rng)
    assert monotonicity(proxy, gold, STEPS, draws=500, seed=1) == monotonicity(proxy, gold, STEPS, draws=500, seed=1)
    assert monotonicity(proxy, gold, STEPS, draws=500, seed=1) != monotonicity(proxy, gold, STEPS, draws=500, seed=2)


def test_a_prompt_with_nan_anywhere_is_left_out_and_counted():
    rng = np.random.default_rng(6)
    proxy, gold = scores(np.linspace(0, 1, 7), 60, rng), scores(np.linspace(0, 1, 7), 60, rng)
    clean = monotonicity(proxy[:, 2:], gold[:, 2:], STEPS, draws=300)
    proxy[3, 0], gold[6, 1] = np.nan, np.inf
    result = monotonicity(proxy, gold, STEPS, draws=300)
    assert (result.prompts, result.left_out) == (58, 2)
    assert result.spearman == clean.spearman
    assert "2 of 60 prompts are left out" in result.notes[0]


def test_no_prompt_with_both_scores_is_inconclusive_and_says_so():
    result = monotonicity(np.zeros((7, 3)), np.full((7, 3), np.nan), STEPS)
    assert result.verdict.name == "inconclusive"
    assert "0 prompts have a proxy and a gold score" in result.verdict.reason
    assert math.isnan(result.spearman.value)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_fewer_than_six_checkpoints_are_always_inconclusive(k):
    rng = np.random.default_rng(7)
    proxy = scores(np.linspace(0, 10, k), 200, rng)
    result = monotonicity(proxy, proxy, np.arange(k), draws=300)
    assert result.verdict.name == "inconclusive"
    assert f"There are {k} checkpoints" in result.verdict.reason
    assert "At least 6 checkpoints" in result.verdict.settle


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([20, 40, 60], "the scored steps are 20, 40, 60; they must ascend from 0"),
        ([0, 20, 20], "each once"),
        ([0, 1], r"proxy is \(3, 4\)"),
    ],
)
def test_steps_and_shapes_that_do_not_fit_are_refused(steps, message):
    with pytest.raises(DataError, match=message):
        monotonicity(np.zeros((3, 4)), np.zeros((3, 4)), steps)


def test_gold_that_never_changes_has_no_correlation_and_no_interval():
    rng = np.random.default_rng(8)
    result = monotonicity(scores(np.linspace(0, 1, 7), 50, rng), np.ones((7, 50)), STEPS, draws=300)
    assert math.isnan(result.spearman.value)
    assert math.isnan(result.spearman.low)
    assert result.undefined_draws == 300
    assert result.verdict.name == "inconclusive"
    assert "checkpoint means do not differ" in result.verdict.reason
    assert any("undefined" in note for note in result.notes)


def test_identical_checkpoints_tie_and_the_note_says_so():
    rng = np.random.default_rng(9)
    gold = scores(np.linspace(0, 2, 7), 100, rng)
    gold[4] = gold[3]
    proxy = scores(np.linspace(0, 2, 7), 100, rng)
    notes = monotonicity(proxy, gold, STEPS, draws=300).notes
    assert any("1 of 21 pairs of checkpoints have exactly the same mean gold" in note for note in notes)


def test_a_plateau_and_the_limit_of_one_are_said():
    rng = np.random.default_rng(10)
    plateau = monotonicity(scores(np.linspace(0, 2, 7), 60, rng), scores([0] + [1] * 6, 60, rng), STEPS, draws=300)
    assert any(note.startswith("Gold has a plateau: ") for note in plateau.notes)
    steep = scores(np.linspace(0, 5, 7), 300, rng, noise=0.1)
    limit = monotonicity(steep, 2 * steep + 1, STEPS, draws=300)
    assert (limit.spearman.low, limit.spearman.high) == (1.0, 1.0)
    assert any("at its limit of +1 (as in 100% of the draws)" in note for note in limit.notes)


@pytest.mark.parametrize(
    ("gold", "expected"),
    [
        (np.linspace(0, 1, 7), "success"),
        ([0, 0.5, 1, 1, 0.6, 0.3, 0.2], "over-optimised"),  # falls from its peak, ends above step 0
        (np.linspace(0, -1, 7), "over-optimised"),  # never rose
        ([0, 0.4, 0.1, 0.5, 0.1, 0.4, 0.4], "unrelated"),  # up and down
    ],
)
def test_clear_cases(gold, expected):
    rng = np.random.default_rng(11)
    result = monotonicity(scores(np.linspace(0, 1, 7), 800, rng), scores(gold, 800, rng), STEPS, draws=1_000)
    assert result.verdict.name == expected, result.verdict
    assert result.verdict.settle is None


def test_coverage_of_the_intervals_is_roughly_right():
    """True Spearman 0.5 by construction: gold's true means are a fixed shuffle of 0..6, far enough apart to be ranked."""
    rng = np.random.default_rng(12)
    order = np.array([0, 3, 1, 5, 2, 4, 6.0])
    truth = stats.spearmanr(np.arange(7), order).statistic
    runs, rho, gain = 200, 0, 0
    for seed in range(runs):
        proxy, gold = scores(np.arange(7) * 0.2, 150, rng), scores(order * 0.2, 150, rng)
        result = monotonicity(proxy, gold, STEPS, draws=400, seed=seed)
        rho += result.spearman.low - 1e-9 <= truth <= result.spearman.high + 1e-9
        gain += result.gold_gain.low <= 1.2 <= result.gold_gain.high
    # Nominal 95%: 190 of 200, standard error 3. Rank intervals are discrete and may cover more.
    assert rho >= 180
    assert 180 <= gain <= 199


# Nominal: an interval lies wholly on one side of 0 by chance in 2.5%; two such events can call a run over-optimised.
@pytest.mark.parametrize(("n", "rising"), [(64, True), (64, False), (300, True)])
def test_false_verdicts_are_rare_on_gold_that_never_moves(n, rising):
    rng = np.random.default_rng(13)
    verdicts: Counter[str] = Counter()
    for seed in range(200):
        ease = rng.normal(size=n)
        proxy = scores(np.linspace(0, 1, 7) * rising, n, rng, ease=ease)
        gold = scores(np.zeros(7), n, rng, ease=ease)
        verdicts[monotonicity(proxy, gold, STEPS, draws=400, seed=seed).verdict.name] += 1
    assert verdicts["success"] <= 2
    assert verdicts["over-optimised"] <= 20


def test_power_a_fall_by_half_is_found():
    rng = np.random.default_rng(14)
    shape = np.array([0, 0.5, 1, 1, 0.8, 0.6, 0.5])
    found = 0
    for seed in range(60):
        proxy, gold = scores(np.linspace(0, 1, 7), 300, rng), scores(shape, 300, rng)
        found += monotonicity(proxy, gold, STEPS, draws=400, seed=seed).verdict.name == "over-optimised"
    # A fall of 0.5 with a standard error of about sqrt(2 / 300) = 0.08 is six of them.
    assert found >= 57
