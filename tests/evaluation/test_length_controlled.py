"""The length-controlled win rate, against a minimiser that knows nothing of Newton's method, and against known truths."""

from __future__ import annotations

import csv
import gzip
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from proxygold.errors import DataError
from proxygold.evaluation.alpaca_eval.length_controlled import (
    Difficulties,
    fit_length,
    length_controlled_differences,
    length_controlled_metric,
    read_difficulties,
)
from proxygold.evaluation.alpaca_eval.length_controlled_official import official_metric


def made(n: int, constant: float, slope: float, hard: float = 0.0, seed: int = 0) -> tuple[Any, Any, Any]:
    """Wins, length differences and difficulties of a judge that follows the model exactly."""
    rng = np.random.default_rng(seed)
    longer = rng.normal(200.0, 300.0, n).round()
    difficulty = rng.normal(0.0, 1.0, n)
    chance = expit(constant + slope * np.tanh(longer / longer.std(ddof=1)) + hard * difficulty)
    return (rng.random(n) < chance).astype(float), longer, difficulty


def minimised(features: Any, wins: Any) -> Any:
    """The same posterior's mode by BFGS: log loss, and a normal prior of standard deviation 10."""

    def loss(b: Any) -> float:
        z = features @ b
        return float(-(wins * log_expit(z) + (1 - wins) * log_expit(-z)).sum() + (b @ b) / 200.0)

    return minimize(loss, np.zeros(features.shape[1]), method="BFGS", options={"gtol": 1e-9}).x


def test_it_is_the_prediction_at_equal_length() -> None:
    wins, longer, _ = made(300, -0.4, 1.5)
    wins[:20] = 0.5  # ties
    features = np.stack([np.ones(300), np.tanh(longer / longer.std(ddof=1))], axis=1)
    constant, slope = minimised(features, wins)
    assert slope > 0.5
    found = length_controlled_metric(wins, longer)
    assert found.value == pytest.approx(100 * expit(constant), abs=1e-4)
    assert found.value < 100 * wins.mean() - 5  # its answers are longer, and that is where it won
    assert found.low < found.value < found.high
    assert (found.n_scored, found.n_total) == (300, 300)
    # What was not judged takes no part.
    more = length_controlled_metric(np.append(wins, math.nan), np.append(longer, 10_000.0))
    assert (more.value, more.n_scored, more.n_total) == (found.value, 300, 301)


def test_with_difficulties_it_is_the_mean_over_instructions() -> None:
    wins, longer, difficulty = made(400, 0.3, 1.0, hard=1.2)
    features = np.stack([np.ones(400), np.tanh(longer / longer.std(ddof=1)), difficulty], axis=1)
    constant, _, hard = minimised(features, wins)
    expected = 100 * expit(constant + hard * difficulty).mean()
    assert length_controlled_metric(wins, longer, difficulty).value == pytest.approx(expected, abs=1e-4)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # P at equal length is logistic(-0.4). Of 20 judges of 80 answers each, 95% intervals miss it once on average, and
    # more than 4 times with a chance below 0.003.
    missed = 0
    for seed in range(20):
        found = length_controlled_metric(*made(80, -0.4, 1.5, seed=seed)[:2])
        missed += not found.low < 100 * expit(-0.4) < found.high
    assert missed <= 4


def test_each_draw_is_fitted_by_its_own_weights() -> None:
    wins, longer, _ = made(60, 0.2, 1.0)
    features = np.stack([np.ones(60), np.tanh(longer / longer.std(ddof=1))], axis=1)
    counts = np.random.default_rng(1).multinomial(60, np.full(60, 1 / 60), size=3).astype(float)
    fitted = fit_length(features, wins, counts)
    for row, weights in zip(fitted, counts, strict=True):
        taken = np.repeat(np.arange(60), weights.astype(int))
        np.testing.assert_allclose(row, minimised(features[taken], wins[taken]), atol=1e-5)


def test_where_the_longer_answer_always_wins_the_fit_stays_finite() -> None:
    longer = np.arange(-50.0, 50.0) + 0.5
    found = length_controlled_metric((longer > 0).astype(float), longer)
    assert found.value == pytest.approx(50.0, abs=0.1)  # as many are longer as are shorter
    always = length_controlled_metric(np.ones(100), longer)
    # Symmetric in length, so that the slope is 0: the constant c solves 100 (1 - logistic(c)) = c / 100, and both sides
    # are 0.0723 at c = 7.23.
    assert always.value == pytest.approx(100 - 0.0723, abs=0.001)
    assert math.isnan(always.low)
    assert always.interval == "none where all items are equal"
    same = length_controlled_metric(np.array([1.0, 0.0, 1.0, 1.0]), np.zeros(4))
    assert same.value == pytest.approx(75.0, abs=0.5)  # nothing to control for: the win rate, drawn to the prior


@pytest.mark.parametrize("wins", [[], [1.0], [math.nan, 1.0]])
def test_below_two_preferences_there_is_none(wins: list[float]) -> None:
    found = length_controlled_metric(np.array(wins), np.zeros(len(wins)))
    assert math.isnan(found.value)
    assert found.n_total == len(wins)


def test_differences_are_drawn_jointly_on_what_all_models_have() -> None:
    wins, longer, _ = made(80, 0.0, 1.0)
    other = wins.copy()
    other[:30] = 0.0
    other[79] = math.nan
    by_model = {"a": (wins, longer), "b": (other, longer), "twin": (wins, longer)}
    found = length_controlled_differences(by_model)
    assert [(each.model, each.baseline, each.n) for each in found] == [
        ("b", "a", 79),
        ("twin", "a", 79),
        ("twin", "b", 79),
    ]
    rates = {
        name: length_controlled_metric(values[:79], lengths[:79]).value for name, (values, lengths) in by_model.items()
    }
    assert found[0].value == pytest.approx(rates["b"] - rates["a"], abs=1e-9)
    assert found[0].high < 0
    assert (found[1].value, found[1].low, found[1].high) == (0.0, 0.0, 0.0)  # the same instructions in every draw
    chosen = length_controlled_differences(by_model, baseline="b")
    assert [(each.model, each.baseline) for each in chosen] == [("a", "b"), ("twin", "b")]


def gamed_rows(n: int = 60) -> list[dict[str, Any]]:
    """Two models' annotations on each of n instructions, in the columns of AlpacaEval's df_gamed.csv."""
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0.0, 1.0, n)
    rows = []
    for model, shift in (("short", -1.5), ("long", 1.5)):
        for index in range(n):
            length = shift + rng.normal(0, 0.5)
            chance = expit(math.tanh(length) + 0.8 * difficulty[index])
            rows.append(
                {
                    "index": index,
                    "model": model,
                    "preference": round(float(chance), 4) if index else "",
                    "std_delta_len": -length,  # AlpacaEval's difference is the other way round
                    "instruction_difficulty": difficulty[index],
                    "not_gamed_baseline": False,
                }
            )
    return rows


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_alpaca_evals_files_of_difficulties_are_read(tmp_path: Path) -> None:
    rows = gamed_rows()
    found = read_difficulties(write_csv(tmp_path / "df_gamed.csv.gz", rows))
    assert len(found.by_number) == 60
    assert found.of([3, 1]).tolist() == [rows[3]["instruction_difficulty"], rows[1]["instruction_difficulty"]]
    assert found.gamed is not None
    assert found.gamed.shape == (118, 3)  # without the two that were not annotated
    plain = [{"": index, "instruction_difficulty": 0.5 * index} for index in range(4)]
    alone = read_difficulties(write_csv(tmp_path / "instruction_difficulty.csv", plain))
    assert (alone.gamed, dict(alone.by_number)) == (None, {0: 0.0, 1: 0.5, 2: 1.0, 3: 1.5})
    with pytest.raises(DataError, match=r"has no difficulty for instruction 4 \(counted from 0\) and 1 more"):
        alone.of([0, 4, 9])


def test_other_files_are_no_difficulties(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read difficulties from .*gone\.csv"):
        read_difficulties(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="have the columns index and instruction_difficulty"):
        read_difficulties(write_csv(tmp_path / "a.csv", [{"index": 0, "difficulty": 1.0}]))
    (tmp_path / "b.csv").write_text("index,instruction_difficulty\n")
    with pytest.raises(DataError, match="has no rows"):
        read_difficulties(tmp_path / "b.csv")


def test_the_official_fit_is_that_of_the_joint_regression(tmp_path: Path) -> None:
    difficulties = read_difficulties(write_csv(tmp_path / "df_gamed.csv", gamed_rows()))
    assert difficulties.gamed is not None
    hard = difficulties.of(list(range(60)))
    rng = np.random.default_rng(2)
    longer = rng.normal(100.0, 250.0, 60)
    wins = np.round(expit(0.5 + np.tanh(longer / longer.std(ddof=1)) + 0.9 * hard), 3)
    found = official_metric(wins, longer, hard, difficulties.gamed)
    # The same regression without a penalty, by another minimiser. Preferences follow the model, so that cross-validation
    # chooses next to none.
    gamed = difficulties.gamed
    features = np.concatenate(
        [
            np.stack([np.tanh(gamed[:, 1]), gamed[:, 2], np.zeros(len(gamed))], axis=1),
            np.stack([np.tanh(-longer / longer.std(ddof=1)), hard, np.ones(60)], axis=1),
        ]
    )
    target = np.concatenate([gamed[:, 0], wins])
    weight = np.concatenate([np.full(len(gamed), 0.1), np.ones(60)])

    def loss(b: Any) -> float:
        z = features @ b
        return float(-(weight * (target * log_expit(z) + (1 - target) * log_expit(-z))).sum())

    _, slope, constant = minimize(loss, np.zeros(3), method="BFGS").x
    predicted = expit(constant + slope * hard)
    assert found.value == pytest.approx(100 * predicted.mean(), abs=0.5)
    assert found.standard_error == pytest.approx(100 * predicted.std(ddof=1) / math.sqrt(60), abs=0.2)
    assert math.isnan(found.low)


def test_difficulties_of_no_instruction_of_the_set_are_refused() -> None:
    with pytest.raises(DataError, match="leave them out for others"):
        Difficulties({}, source="d.csv").of([0])
