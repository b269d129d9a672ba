"""A reward called as TRL calls its reward functions."""

import math
from typing import Any

import pytest

from proxygold import reward
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
