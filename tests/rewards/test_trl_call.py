"""A reward called as TRL calls its reward functions."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from proxygold import Example, feature, reward
from proxygold.errors import RewardError

BRANCH = "branch(open_ended=LI, closed_ended=RP)"


def call(line: str, **keywords: Any) -> list[float | None]:
    return reward(line)(completion_ids=[[1]] * len(keywords["prompts"]), trainer_state=object(), **keywords)


def test_texts() -> None:
    assert call("LI * RP", prompts=["a", "b"], completions=["one two three", ""]) == [0.03, 0.0]


def test_conversations() -> None:
    prompts = [[{"role": "user", "content": "a"}]] * 3
    completions = [
        [{"role": "assistant", "content": "one two"}],
        [{"role": "assistant", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": " two three"}]}],
        # what a tool says is not the policy's; a turn that only calls a tool has no text
        [
            {"role": "assistant", "content": None},
            {"role": "tool", "content": "1 2 3 4 5"},
            {"role": "assistant", "content": "one"},
        ],
    ]
    assert call("LI", prompts=prompts, completions=completions) == [0.02, 0.03, 0.01]


def test_what_cannot_be_computed_is_none() -> None:
    keywords = {"prompts": ["a"] * 3, "completions": ["one"] * 3, "query_type": ["open_ended", "CONSTRAINED", None]}
    assert call(BRANCH, **keywords) == [0.01, 1.0, None]


def test_a_missing_column_is_an_error_before_anything_is_computed() -> None:
    with pytest.raises(RewardError) as caught:
        call("branch(open_ended=LI, closed_ended=AR)", prompts=["a"], completions=["b"], source=["x"])
    assert str(caught.value) == (
        "this reward needs the columns query_type and reference, and the data has: prompt, completion, source. "
        "Add what is missing to the data, or choose a reward that does without."
    )


def test_lengths_that_do_not_fit_are_errors() -> None:
    with pytest.raises(RewardError, match="2 prompts came with 1 completions"):
        call("LI", prompts=["a", "b"], completions=["c"])
    with pytest.raises(RewardError, match="the column query_type has 1 entries for 2 prompts"):
        call(BRANCH, prompts=["a", "b"], completions=["c", "d"], query_type=["open_ended"])
    with pytest.raises(RewardError, match="a completion or reference is int"):
        call("LI", prompts=["a"], completions=[3])
    with pytest.raises(RewardError, match="a completion or reference is list"):
        call("LI", prompts=["a"], completions=[["b"]])


def as_series(values: list[Any]) -> Any:
    # Its labels are not its positions: by label, 0 would be the last entry.
    return pytest.importorskip("pandas").Series(values, index=range(len(values) - 1, -1, -1))


def as_dataset_column(values: list[Any]) -> Any:
    return pytest.importorskip("datasets").Dataset.from_dict({"x": values})["x"]


@pytest.mark.parametrize("made", [np.array, pa.array, pa.chunked_array, as_series, as_dataset_column, tuple])
def test_a_column_may_be_any_array(made: Callable[[Any], Any]) -> None:
    seen = []

    @feature("seen_column", columns=["stars"], replace=True)
    def seen_column(example: Example) -> float:
        seen.append(example.columns["stars"])
        return 1.0

    types, stars = ["open_ended", "closed_ended", "closed_ended"], [3, 4, 5]
    if made is pa.chunked_array:
        types, stars = [types[:1], types[1:]], [stars[:1], stars[1:]]  # type: ignore[assignment]
    scores = call(
        "branch(open_ended=LI, closed_ended=RP) * seen_column",
        prompts=["a"] * 3,
        completions=["one two", "a a a a", "x"],
        query_type=made(types),
        stars=made(stars),
    )
    # 2 words; 1 of 2 trigrams; no trigram to repeat
    assert scores == [0.02, 0.5, 1.0]
    assert seen == [3, 4, 5]
    assert {type(value) for value in seen} == {int}


def test_prompts_and_completions_may_be_arrays_too() -> None:
    completions = ["one two", "one", "one two three"]
    for made in (np.array, pa.array, as_series):
        assert call("LI", prompts=made(["a", "b", "c"]), completions=made(completions)) == [0.02, 0.01, 0.03]


def test_a_text_that_pandas_misses_is_missing() -> None:
    query_type = as_series(["open_ended", None, float("nan")])
    assert call(BRANCH, prompts=["a"] * 3, completions=["one"] * 3, query_type=query_type) == [0.01, None, None]


@pytest.mark.parametrize(
    ("value", "kind"),
    [("open_ended"[:2], "str"), ({0: "a", 1: "b"}, "dict"), ({"a", "b"}, "set"), (3, "int"), (None, "NoneType"), (np.array(1.0), "ndarray")],
)  # fmt: skip
def test_what_is_no_column_is_an_error_where_it_is_required_and_left_out_where_not(value: Any, kind: str) -> None:
    keywords = {"prompts": ["a"] * 2, "completions": ["one"] * 2}
    with pytest.raises(RewardError, match=f"the column query_type is {kind}, which has no entry for each prompt"):
        call(BRANCH, **keywords, query_type=value)
    assert call("LI", **keywords, query_type=value) == [0.01, 0.01]


def test_parts_are_logged_under_the_rewards_own_name() -> None:
    extra: dict[str, list[Any]] = {}
    metrics: dict[str, float] = {}
    made = reward(BRANCH)
    made(
        prompts=["a"] * 3,
        completions=["one two", "a a a a", "x"],
        query_type=["open_ended", "closed_ended", None],
        log_extra=extra.__setitem__,
        log_metric=metrics.__setitem__,
    )
    name = made.__name__
    # 2 words; 1 of 2 trigrams
    assert extra == {f"{name}/LI": [0.02, None, None], f"{name}/RP": [None, 0.5, None]}
    assert metrics == {f"{name}/LI": 0.02, f"{name}/RP": 0.5, f"{name}/not_scored": pytest.approx(1 / 3)}
    assert not any(math.isnan(value) for value in metrics.values())


@pytest.mark.slow  # importing TRL takes its seconds
def test_the_installed_trl_takes_a_reward_for_a_function_with_its_own_name() -> None:
    utils = pytest.importorskip("trl.trainer.utils", reason="TRL is not installed: pip install 'proxygold[train]'")
    made = reward("LI * RP")
    assert utils.get_callable_name(made) == made.__name__
    assert not utils.is_async_callable(made)
