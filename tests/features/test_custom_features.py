"""A user's own features: registering, arguments, failures and plug-in files."""

import math
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
import torch

from proxygold import Example, feature, reward
from proxygold.errors import RewardError
from proxygold.features import find_feature, load_plugin


def test_a_feature_is_a_function_of_one_example() -> None:
    @feature("excitement")
    def excitement(example: Example) -> float:
        return example.completion.count("!")

    assert excitement(Example("q", "!!")) == 2
    scored = reward("LI * (1 - excitement / 4)").score([Example("q", "Yes!")])
    # two words: 0.02 * (1 - 1/4)
    assert scored.total.tolist() == pytest.approx([0.015])
    assert scored.parts["excitement"].tolist() == [1.0]


def test_keyword_only_parameters_become_arguments_of_the_line() -> None:
    @feature("letters_of")
    def letters_of(
        example: Example, *, letter: str = "a", weight: float = 1.0, power: int = 1, fold: bool = False
    ) -> float:
        text = example.completion.lower() if fold else example.completion
        return weight * text.count(letter) ** power

    examples = [Example("q", "AaB")]
    assert reward("letters_of").score(examples).total[0] == 1.0
    assert reward('letters_of(fold=True, letter="b", weight=-3)').score(examples).total[0] == -3.0
    # Written in the function's order, without what is the default.
    assert str(reward("letters_of(power=2, fold=True, weight=1.0)")) == "letters_of(power=2, fold=True)"
    with pytest.raises(RewardError, match="The argument letter must be a text"):
        reward("letters_of(letter=3)")
    with pytest.raises(RewardError, match="The argument power must be a whole number"):
        reward("letters_of(power=1.5)")
    with pytest.raises(RewardError, match="Did you mean letter"):
        reward('letters_of(leter="a")')


@pytest.mark.parametrize("name", ["LI", "length_incentive", "RP"])
def test_a_known_name_is_an_error(name: str) -> None:
    with pytest.raises(RewardError, match=f"{name!r} is registered already"):
        feature(name)(lambda example: 0.0)
    with pytest.raises(RewardError, match="built-in feature and cannot be replaced"):
        feature(name, replace=True)(lambda example: 0.0)


@pytest.mark.parametrize("name", ["branch", "RM", "RER", "min", "gold", "open_ended"])
def test_a_reserved_name_is_an_error(name: str) -> None:
    with pytest.raises(RewardError, match="the name is reserved"):
        feature(name)(lambda example: 0.0)


@pytest.mark.parametrize("name", ["two words", "1st", "", "é", "lambda", "a-b"])
def test_a_name_that_a_line_cannot_hold_is_an_error(name: str) -> None:
    with pytest.raises(RewardError, match="cannot be called"):
        feature(name)(lambda example: 0.0)


def test_redefining_ones_own_feature_has_to_be_said() -> None:
    feature("redefined")(lambda example: 1.0)
    with pytest.raises(RewardError, match="pass replace=True to redefine it"):
        feature("redefined")(lambda example: 2.0)
    same = lambda example: 3.0  # noqa: E731
    feature("registered_twice")(same)
    with pytest.raises(RewardError, match="'registered_twice' is registered already"):
        feature("registered_twice")(same)
    feature("redefined", replace=True)(lambda example: 2.0)
    assert reward("redefined").score([Example("q", "c")]).total[0] == 2.0


def test_a_failing_feature_is_nan_with_its_reason() -> None:
    @feature("fragile")
    def fragile(example: Example) -> object:
        return {"raise": lambda: 1 / 0, "none": lambda: None, "nan": lambda: math.nan, "text": lambda: "x"}[
            example.completion
        ]()

    scored = reward("fragile").score([Example("q", text) for text in ("raise", "none", "nan", "text")])
    assert [math.isnan(value) for value in scored.total] == [True] * 4
    reasons = scored.reasons
    assert reasons[0] is not None
    assert reasons[0].startswith("fragile raised ZeroDivisionError: division by zero (test_custom_features.py:")
    assert reasons[1:] == (
        "fragile returned NoneType, not a number",
        "fragile returned nan",
        "fragile returned str, not a number",
    )


def test_what_is_no_float_is_nan_with_its_reason() -> None:
    @feature("unfit")
    def unfit(example: Example) -> object:
        return {"huge": 10**400, "two": torch.tensor([1.0, 2.0]), "one": torch.tensor(3.0)}[example.completion]

    scored = reward("unfit").score([Example("q", text) for text in ("huge", "two", "one")])
    assert [math.isnan(value) for value in scored.total] == [True, True, False]
    assert scored.reasons == (
        "unfit returned a number too large for a float",
        "unfit returned Tensor, not a number",
        None,
    )


def test_a_default_may_be_a_numpy_number() -> None:
    @feature("weighted")
    def weighted(
        example: Example,
        *,
        weight: float = np.float64(0.5),
        power: int = np.int64(2),  # type: ignore[assignment]
        fold: bool = np.bool_(True),  # type: ignore[assignment]
    ) -> float:
        return float(weight * len(example.completion) ** power * fold)

    assert reward("weighted").score([Example("q", "abc")]).total[0] == 4.5
    assert str(reward("weighted(weight=0.5, power=3, fold=True)")) == "weighted(power=3)"
    with pytest.raises(RewardError, match="The argument power must be a whole number"):
        reward("weighted(power=1.5)")


def test_columns_that_a_feature_needs() -> None:
    @feature("stars", columns=["rating"])
    def stars(example: Example) -> float:
        return example.columns["rating"]

    made = reward("LI + stars")
    assert made.required_columns == {"rating"}
    scored = made.score([Example("q", "a", columns={"rating": 4}), Example("q", "a")])
    assert scored.total[0] == pytest.approx(4.01)
    assert scored.reasons == (None, "stars: the example has no rating")


class Mark(StrEnum):
    POINT = "!"


def test_a_default_that_a_line_cannot_hold_is_an_error() -> None:
    with pytest.raises(RewardError, match="'marks' needs a default: a number, a text or a truth value"):

        @feature("listed")
        def listed(example: Example, *, marks: tuple[str, ...] = ("!",)) -> float:
            return 0.0

    with pytest.raises(RewardError, match="'mark' needs a default"):

        @feature("enumerated")
        def enumerated(example: Example, *, mark: str = Mark.POINT) -> float:
            return 0.0


def test_a_plugin_file_registers_once(tmp_path: Path) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(
        "from proxygold import feature\n\n@feature('from_file')\ndef from_file(example):\n    return len(example.prompt)\n"
    )
    assert reward("from_file", plugins=[plugin]).score([Example("four", "c")]).total[0] == 4.0
    load_plugin(plugin)
    registered = find_feature("from_file")
    assert registered is not None
    assert registered.file == str(plugin.resolve())


def test_plugins_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"there is no plug-in file .*missing\.py"):
        load_plugin(tmp_path / "missing.py")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(RewardError, match=r"broken\.py failed: ZeroDivisionError: division by zero"):
        load_plugin(broken)
    text = tmp_path / "notes.txt"
    text.write_text("x = 1")
    with pytest.raises(RewardError, match=r"its name must end in \.py"):
        load_plugin(text)
