"""The rules of the verdict, each at its edge, and what is said where it is not settled."""

import math

import pytest

from proxygold.analysis.bootstrap import Estimate
from proxygold.analysis.drawdown import Drawdown
from proxygold.analysis.verdict import Verdict, decide, over_seeds, prompts_needed

UP, FLAT, DOWN = Estimate(1.0, 0.5, 1.5), Estimate(0.1, -0.3, 0.5), Estimate(-1.0, -1.5, -0.5)
HIGH, MIDDLE, LOW = Estimate(0.95, 0.85, 1.0), Estimate(0.9, 0.7, 1.0), Estimate(0.2, -0.3, 0.6)


def verdict(rho=HIGH, proxy=UP, gold=UP, falls=False, checkpoints=7, prompts=100, threshold=0.8):
    drawdown = Drawdown(UP if falls else FLAT, UP, (40, 40), 0.1, "10% of gold's rise to its peak", falls)
    return decide(
        checkpoints=checkpoints,
        prompts=prompts,
        spearman=rho,
        proxy_gain=proxy,
        gold_gain=gold,
        drawdown=drawdown,
        threshold=threshold,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "success"),
        ({"checkpoints": 6}, "success"),
        ({"checkpoints": 5}, "inconclusive"),
        ({"rho": MIDDLE}, "inconclusive"),
        ({"rho": MIDDLE, "threshold": 0.6}, "success"),
        ({"rho": Estimate(0.9, 0.8, 1.0)}, "inconclusive"),  # the lower end must lie above the threshold, not on it
        ({"rho": LOW}, "unrelated"),
        ({"rho": LOW, "gold": FLAT}, "unrelated"),
        ({"falls": True}, "over-optimised"),
        ({"falls": True, "proxy": FLAT}, "inconclusive"),  # nothing was optimised
        ({"gold": DOWN, "rho": LOW}, "over-optimised"),
        ({"gold": DOWN, "proxy": FLAT, "rho": LOW}, "over-optimised"),
        ({"gold": FLAT}, "inconclusive"),
        ({"proxy": FLAT}, "inconclusive"),
        ({"rho": Estimate(math.nan, math.nan, math.nan)}, "inconclusive"),
        ({"prompts": 1}, "inconclusive"),
    ],
)
def test_rules(arguments, expected):
    result = verdict(**arguments)
    assert result.name == expected
    assert (result.settle is not None) == (expected == "inconclusive")


def test_inconclusive_says_what_is_missing_and_what_would_settle_it():
    result = verdict(rho=MIDDLE, gold=FLAT)
    assert result.reason == (
        "Gold's gain over step 0, 0.10 (-0.30 to 0.50), cannot be told from 0; "
        "Spearman 0.90 (0.70 to 1.00) does not lie wholly above 0.8."
    )
    # Half width 0.4 against a gain of 0.1: (0.4 / 0.1)^2 * 1.5^2 = 36 times 100 prompts.
    assert "about 3,600 prompts" in result.settle
    assert "More validation prompts" in result.settle


def test_prompts_needed_promises_nothing_it_cannot_know():
    assert prompts_needed(Estimate(-0.1, -0.5, 0.3), 100) is None
    assert prompts_needed(Estimate(0.001, -0.5, 0.5), 100) is None


def test_success_needs_every_seed_and_others_need_most():
    def over(*names):
        verdicts = [Verdict(name, f"because {name}", "do this" if name == "inconclusive" else None) for name in names]
        return over_seeds(verdicts, range(len(names)))

    assert over("success", "success").name == "success"
    assert over("success", "success", "inconclusive").name == "inconclusive"
    assert over("success", "over-optimised", "over-optimised").name == "over-optimised"
    assert over("success", "over-optimised").name == "inconclusive"
    assert over("unrelated", "unrelated", "success").name == "unrelated"
    mixed = over("success", "over-optimised")
    assert mixed.reason == "Success in 1 of 2 seeds, over-optimised in 1 of 2 seeds. The seeds disagree."
    assert mixed.settle.startswith("More seeds")
    assert over("success", "inconclusive").settle == "Seed 1: do this"
    assert over("unrelated").reason == "because unrelated"
