"""OpenRLHF's query, prompt and label as an example, and scores as OpenRLHF takes them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxygold import reward
from proxygold.errors import DataError
from proxygold.integrations.batching import Batcher, ScoredRow
from proxygold.integrations.openrlhf_rows import (
    _overlap,
    answer_rows,
    example_from_openrlhf,
    response_of,
    row_of,
    submit_rows,
)

CHATML = "<|im_start|>user\nWhere is Oslo?<|im_end|>\n<|im_start|>assistant\n"


def test_the_completion_is_what_follows_the_prompt_without_end_tokens() -> None:
    assert response_of(CHATML + "In Norway.<|im_end|>", CHATML) == "In Norway."
    assert response_of("Q: why?\nA: so</s>", "Q: why?\nA:") == " so"
    assert response_of("a b<|endoftext|><|endoftext|>\n", "a") == " b"
    assert response_of("<bos>a b<end_of_turn>\n<eos>", "a") == "b"
    assert response_of("<｜User｜>a<｜Assistant｜>b<｜end▁of▁sentence｜>", "<｜User｜>a<｜Assistant｜>") == "b"


def test_special_tokens_inside_and_other_angles_stay() -> None:
    assert response_of(CHATML + "use <b> and <|x|> here", CHATML) == "use <b> and <|x|> here"
    assert response_of("a 1 <s 2", "a") == " 1 <s 2"
    assert response_of("a", "a") == ""


def test_white_space_that_decoding_changed() -> None:
    # Llama 2's tokenizer writes a space after each special token.
    assert response_of("<s> [INST] hi [/INST] yes</s>", "<s>[INST] hi [/INST]") == "yes"
    assert response_of(" hi there you", "hi there") == "you"


def test_a_prompt_that_was_cut_on_the_left() -> None:
    # The last 20 characters of the prompt, with half a character before them.
    assert response_of("\ufffd" + CHATML[-20:] + "In Norway.", CHATML) == "In Norway."
    assert response_of(CHATML[-20:] + "In Norway.", CHATML) == "In Norway."


def test_a_query_of_another_prompt_is_an_error() -> None:
    with pytest.raises(DataError) as caught:
        response_of("Where is Bergen? In Norway.", "Where is Oslo?")
    assert str(caught.value) == (
        "the query does not begin with its prompt: it begins with 'Where is Bergen? In Norway.', "
        "the prompt with 'Where is Oslo?'"
    )
    with pytest.raises(DataError):  # one letter in common is no overlap
        response_of("? yes", "Where is Oslo?")


@given(st.text("ab", max_size=12), st.text("ab", max_size=12))
def test_overlap_is_the_longest_end_that_begins_the_query(prompt: str, query: str) -> None:
    lengths = [n for n in range(len(prompt) + 1) if query.startswith(prompt[len(prompt) - n :])]
    assert _overlap(prompt, query) == max(lengths)


@pytest.mark.parametrize(
    ("label", "reference", "query_type", "columns"),
    [
        (None, None, None, {}),
        ("", None, None, {}),
        ("In Norway.", "In Norway.", None, {}),
        ("4", "4", None, {}),  # JSON, but no object
        (4, "4", None, {}),
        ('{"city": "Oslo"}', '{"city": "Oslo"}', None, {}),  # an object, but none of ours: the answer is JSON
        ('{"reference": "x"', '{"reference": "x"', None, {}),  # not JSON
        ('{"reference": "x", "query_type": "CONSTRAINED", "source": "s"}', "x", "closed_ended", {"source": "s"}),
        ({"query_type": "open_ended"}, None, "open_ended", {}),
        ('{"reference": null, "prompt": null}', None, None, {}),
    ],
)
def test_labels(label: Any, reference: str | None, query_type: str | None, columns: dict[str, Any]) -> None:
    example = example_from_openrlhf(CHATML + "There.", CHATML, label)
    assert (example.reference, example.query_type, example.columns) == (reference, query_type, columns)
    assert (example.prompt, example.completion) == (CHATML, "There.")


def test_a_label_may_hold_what_the_user_asked() -> None:
    label = json.dumps({"prompt": "Where is Oslo?", "completion": "not this"})
    example = example_from_openrlhf(CHATML + "There.<|im_end|>", CHATML, label)
    assert (example.prompt, example.completion, example.columns) == ("Where is Oslo?", "There.", {})


def test_labels_that_cannot_be_used() -> None:
    with pytest.raises(DataError, match="query_type is str 'open'; allowed: open_ended"):
        example_from_openrlhf("a b", "a", '{"query_type": "open"}')
    with pytest.raises(DataError, match="the label is list; text, or JSON with reference and query_type, is needed"):
        example_from_openrlhf("a b", "a", ["x"])
    with pytest.raises(DataError, match="query is NoneType; text is needed"):
        example_from_openrlhf(None, "a", "x")


def test_answers_are_finite_and_have_the_same_keys_for_every_row() -> None:
    rows = [
        ScoredRow(0.25, {"LI": 0.5, "AR": math.nan, "LI * 0.5": 0.25}, None),
        ScoredRow(math.nan, {"LI": math.nan, "AR": math.nan, "LI * 0.5": math.nan}, "no query type"),
        ScoredRow(math.nan, {}, "the query does not begin with its prompt"),
    ]
    rewards, logs = answer_rows(rows, ["LI", "AR"], fallback=-1.0)
    assert rewards == [0.25, -1.0, -1.0]
    assert logs == {
        "not_scored": [0.0, 1.0, 1.0],
        "LI": [0.5, 0.0, 0.0],
        "LI/computed": [1.0, 0.0, 0.0],
        "AR": [0.0, 0.0, 0.0],
        "AR/computed": [0.0, 0.0, 0.0],
    }
    assert answer_rows([], ["LI"], 0.0) == ([], {"not_scored": [], "LI": [], "LI/computed": []})


def test_each_completion_succeeds_or_fails_alone() -> None:
    with Batcher(reward("LI", on_error="raise").score) as batcher:
        futures = submit_rows(
            batcher, ["a: x y", "b", "a: x y z"], ["a:", "a:", "a:"], [None, None, '{"query_type": "?"}']
        )
        rows = [row_of(future.exception(timeout=30) or future.result()) for future in futures]
        assert submit_rows(batcher, [], [], []) == []
    assert (rows[0].total, rows[0].reason) == (0.02, None)
    assert [math.isnan(row.total) for row in rows] == [False, True, True]
    assert rows[1].reason == "the query does not begin with its prompt: it begins with 'b', the prompt with 'a:'"
    assert str(rows[2].reason).startswith("query_type is str '?'; allowed: open_ended")
    assert row_of(ZeroDivisionError("by zero")).reason == "ZeroDivisionError: by zero"
    with pytest.raises(KeyboardInterrupt):
        row_of(KeyboardInterrupt())
