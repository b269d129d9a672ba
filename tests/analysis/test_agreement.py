"""Agreement of two labellings: by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from proxygold.analysis.agreement import measure_agreement


def test_by_hand() -> None:
    # Of 10: 4 both open, 3 both closed, 2 open/closed, 1 closed/open. Agreement 0.7. By chance, with shares 0.6 and
    # 0.5 of open: 0.6*0.5 + 0.4*0.5 = 0.5. Kappa (0.7 - 0.5) / (1 - 0.5) = 0.4.
    first = ["o"] * 4 + ["c"] * 3 + ["o"] * 2 + ["c"]
    second = ["o"] * 4 + ["c"] * 3 + ["c"] * 2 + ["o"]
    found = measure_agreement(first, second)
    assert (found.n, found.agree) == (10, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.counts == {("o", "o"): 4, ("c", "c"): 3, ("o", "c"): 2, ("c", "o"): 1}
    assert found.kappa_low < 0.4 < found.kappa_high


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.choice(["a", "b", "c"], size=200, p=[0.5, 0.3, 0.2])
    second = np.where(rng.random(200) < 0.6, first, rng.choice(["a", "b", "c"], size=200))
    found = measure_agreement(first.tolist(), second.tolist())
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    # The interval, against a bootstrap of the queries themselves.
    draws = [cohen_kappa_score(first[rows], second[rows]) for rows in rng.integers(0, 200, size=(400, 200))]
    assert (found.kappa_low, found.kappa_high) == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.03)


def test_the_edges() -> None:
    assert measure_agreement(["o", "c"], ["o", "c"]).kappa == 1.0
    assert measure_agreement(["o", "c"], ["c", "o"]).kappa == -1.0
    same = measure_agreement(["o", "o"], ["o", "o"])
    assert same.agree == 1.0
    assert math.isnan(same.kappa)
    assert math.isnan(same.kappa_low)
