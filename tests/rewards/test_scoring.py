"""What each node gives, row by row: arithmetic, NaN and its reasons, and branches."""

import math

import numpy as np
import pytest

from proxygold import Example, Scored, feature, reward

feature("x")(lambda example: float(example.columns["x"]))
feature("y")(lambda example: float(example.columns["y"]))


@feature("touchy")
def touchy(example: Example) -> float:
    """Fails where it is called for a row that it was not meant for."""
    if example.query_type in ("closed_ended", "CONSTRAINED"):
        raise AssertionError("called for a closed-ended row")
    return 7.0


def rows(*pairs: tuple[float, float]) -> list[Example]:
    return [Example("q", "c", columns={"x": x, "y": y}) for x, y in pairs]


def total(line: str, *pairs: tuple[float, float]) -> list[float]:
    return reward(line).score(rows(*pairs)).total.tolist()


@pytest.mark.parametrize(
    ("line", "x", "y", "expected"),
    [
        ("x + y", 2, 3, 5),
        ("x - y - 1", 2, 3, -2),
        ("x - (y - 1)", 2, 3, 0),
        ("x * y", 2, 3, 6),
        ("x / y", 3, 2, 1.5),
        ("x ** y", 2, 3, 8),
        ("-x ** 2", 3, 0, -9),
        ("2 ** x ** y", 3, 2, 512),
        ("min(x, y, 1)", 2, 3, 1),
        ("max(x, y, 1)", 2, 3, 3),
        ("clip(x, 0, 1)", -2, 0, 0),
        ("clip(x, 0, 1)", 0.5, 0, 0.5),
        ("clip(x, 0, 1)", 2, 0, 1),
        # (1.75 - 0) * 5.12 / 3.5 = 2.56
        ("rescale(x, 0, 3.5, 0, 5.12)", 1.75, 0, 2.56),
        # below the range it is the lower end, above it the line goes on: 7 * 5.12 / 3.5 = 10.24
        ("rescale(x, 0, 3.5, 0, 5.12)", -1.75, 0, 0),
        ("rescale(x, 0, 3.5, 0, 5.12)", 7, 0, 10.24),
        # 10 + (3 - 2) * (4 - 10) / (6 - 2) = 8.5
        ("rescale(x, 2, 6, 10, 4)", 3, 0, 8.5),
        ("log1p(x)", math.e - 1, 0, 1),
        ("tanh(x)", 0.5, 0, math.tanh(0.5)),
        ("sigmoid(x)", 2, 0, 1 / (1 + math.exp(-2))),
        ("sigmoid(x)", -800, 0, 0),
        ("sigmoid(x)", 800, 0, 1),
        ("1 - x", 0.25, 0, 0.75),
    ],
)
def test_arithmetic(line: str, x: float, y: float, expected: float) -> None:
    assert total(line, (x, y)) == [pytest.approx(expected, abs=1e-12)]


@pytest.mark.parametrize(
    "line",
    ["x ** 0", "1 ** x", "0 * x", "max(x, 1)", "min(x, 1)", "max(1, y, x)", "clip(x, 0, 1)", "rescale(x, 0, 1, 0, 1)"],
)
def test_a_nan_operand_gives_nan_with_the_operands_reason(line: str) -> None:
    scored = reward(line).score(rows((math.nan, 1), (1, 1)))
    assert math.isnan(scored.total[0])
    assert scored.reasons == ("x returned nan", None)


@pytest.mark.parametrize(
    ("line", "x", "y", "reason"),
    [
        ("x / y", 1, 0, "x / y: division by zero"),
        ("x / y", 0, 0, "x / y: division by zero"),
        ("x ** y", 0, -1, "x ** y: zero to a negative power"),
        ("x ** y", -8, 0.5, "x ** y: the negative number -8.0 to the broken power 0.5"),
        ("x ** y", 10, 400, "x ** y: the result is too large"),
        ("x * y", 1e300, 1e300, "x * y: the result is too large"),
        ("x - y", 1.7e308, -1.7e308, "x - y: the result is too large"),
        ("log1p(x)", -1, 0, "log1p(x): log1p of -1.0, which must be above -1"),
        ("log1p(x)", -3, 0, "log1p(x): log1p of -3.0, which must be above -1"),
        ("1 + tanh(log1p(x))", -3, 0, "log1p(x): log1p of -3.0, which must be above -1"),
    ],
)
def test_what_is_not_finite_is_nan_with_a_reason(line: str, x: float, y: float, reason: str) -> None:
    scored = reward(line).score(rows((x, y), (1, 1)))
    assert math.isnan(scored.total[0])
    assert scored.reasons == (reason, None)
    assert math.isfinite(scored.total[1])


def test_the_first_failing_operand_gives_the_reason() -> None:
    assert reward("x * y").score(rows((math.nan, math.nan))).reasons == ("x returned nan",)
    assert reward("y * x").score(rows((math.nan, math.nan))).reasons == ("y returned nan",)


def test_every_node_keeps_its_value_in_order_of_evaluation() -> None:
    scored = reward("(LI + 0.5) * RP").score([Example("q", "a b c a b c"), Example("q", "")])
    assert list(scored.parts) == ["LI", "LI + 0.5", "RP", "(LI + 0.5) * RP"]
    # 6 words, 3 of 4 trigrams distinct; the empty completion has no word, no trigram
    assert scored.parts["LI"].tolist() == [0.06, 0.0]
    assert scored.parts["RP"].tolist() == [0.75, 1.0]
    assert scored.total.tolist() == pytest.approx([0.56 * 0.75, 0.5])
    assert scored.total.tolist() == scored.parts["(LI + 0.5) * RP"].tolist()


def branched(line: str, *labels: str | None) -> Scored:
    return reward(line).score([Example("q", "a b", query_type=label, columns={"x": 3, "y": 4}) for label in labels])


def test_a_branch_takes_the_arm_of_each_row_and_calls_features_for_no_other() -> None:
    scored = branched(
        "branch(open_ended=touchy, closed_ended=x)", "open_ended", "closed_ended", "OPENENDED", "CONSTRAINED"
    )
    assert scored.total.tolist() == [7.0, 3.0, 7.0, 3.0]
    assert scored.reasons == (None,) * 4
    np.testing.assert_array_equal(scored.parts["touchy"], [7.0, math.nan, 7.0, math.nan])
    np.testing.assert_array_equal(scored.parts["x"], [math.nan, 3.0, math.nan, 3.0])


def test_a_node_in_both_arms_has_its_value_in_all_rows() -> None:
    scored = branched("branch(open_ended=LI * x, closed_ended=LI * y)", "open_ended", "closed_ended")
    assert scored.parts["LI"].tolist() == [0.02, 0.02]
    assert scored.total.tolist() == [0.06, 0.08]


def test_a_failure_in_the_arm_that_is_not_selected_is_none() -> None:
    scored = branched("branch(open_ended=x, closed_ended=AR)", "open_ended", "closed_ended")
    assert scored.total[0] == 3.0
    assert scored.reasons == (None, "AR: the example has no reference")


def test_a_missing_or_unknown_query_type_is_nan_with_a_reason() -> None:
    scored = branched("branch(open_ended=x, closed_ended=y)", None, "open", "open_ended")
    assert np.isnan(scored.total).tolist() == [True, True, False]
    assert scored.reasons == (
        "branch: the example has no query_type",
        "branch: query_type 'open' is unknown; allowed: open_ended, closed_ended, OPENENDED, CONSTRAINED",
        None,
    )


def test_the_parts_are_the_same_whatever_rows_there_are() -> None:
    line = "branch(open_ended=LI * x, closed_ended=tanh(AR))"
    keys = ["LI", "x", "LI * x", "AR", "tanh(AR)", "branch(open_ended=LI * x, closed_ended=tanh(AR))"]
    assert list(branched(line, "open_ended").parts) == keys
    assert list(branched(line, None).parts) == keys
    assert list(reward(line).score([]).parts) == keys


def test_branches_nest() -> None:
    line = (
        "branch(open_ended=branch(open_ended=1, closed_ended=AR), closed_ended=branch(open_ended=AR, closed_ended=2))"
    )
    assert branched(line, "open_ended", "closed_ended").total.tolist() == [1.0, 2.0]


def test_no_examples_give_empty_arrays() -> None:
    scored = reward("LI * RP").score([])
    assert scored.total.shape == (0,)
    assert scored.reasons == ()


def test_many_examples_are_scored_in_order_across_chunks() -> None:
    examples = [Example("q", "w " * (row % 7)) for row in range(5000)]
    scored = reward("LI").score(examples)
    assert scored.total.tolist() == [(row % 7) / 100 for row in range(5000)]
    assert len(scored.reasons) == 5000
