"""A judge's words read as AlpacaEval reads them. The cases are AlpacaEval's contract, in words of our own."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from proxygold.errors import ConfigError
from proxygold.evaluation.alpaca_eval.parsers import preference_parser

RANKS = "[{'model': 'model_1', 'rank': %s}, {'model': 'model_2', 'rank': %s}]"
LETTERS = {"outputs_to_match": {1: r"(?:^|\n) ?Answer \(a\)", 2: r"(?:^|\n) ?Answer \(b\)"}}
PIPELINE = {
    "parsers_to_kwargs": {"json_parser": {"annotation_key": "ordered"}, "ranking_parser": {"model_1_name": "m"}}
}
TOKENS = {"numerator_token": "m", "denominator_tokens": ["m", "M"]}


def probable(*places: dict[str, float]) -> str:
    """A reply in which each token had these log-probabilities."""
    content = [
        {
            "token": next(iter(place)),
            "logprob": -0.1,
            "top_logprobs": [{"token": token, "logprob": logprob} for token, logprob in place.items()],
        }
        for place in places
    ]
    return json.dumps({"text": "m", "logprobs": {"content": content}})


@pytest.mark.parametrize(
    ("name", "arguments", "text", "expected"),
    [
        ("ranking_parser", {}, RANKS % (1, 2), 1.0),
        ("ranking_parser", {}, RANKS % (2, 1), 2.0),
        ("ranking_parser", {"model_1_name": "model_2"}, RANKS % (2, 1), 1.0),
        ("regex_parser", LETTERS, "Answer (b)", 2.0),
        ("regex_parser", LETTERS, "I prefer it.\n Answer (a)", 1.0),
        ("regex_parser", {"outputs_to_match": {1: "x", 1.5: "xy", 2: "z"}}, "xy", 1.0),  # the first at one place
        ("regex_parser", {"outputs_to_match": {0: "tie", 1: "a", 2: "b"}}, "tie", 1.5),  # 0 was once a tie
        ("lmsys_parser", {}, "7 3\nThe first is better.", 1.0),
        ("lmsys_parser", {}, "7,9", 2.0),
        ("lmsys_parser", {}, "7 7", 1.5),
        ("json_parser", {"annotation_key": "preference"}, 'So:\n```json\n{"preference": 1.25}\n```', 1.25),
        ("json_parser", {"annotation_key": "preference"}, '[{"preference": 2}]', 2.0),
        ("eval_parser", {}, "2", 2.0),
        ("pipeline_meta_parser", PIPELINE, '{"ordered": [{"model": "M", "rank": 1}, {"model": "m", "rank": 2}]}', 2.0),
        (
            "pipeline_meta_parser",
            {"parsers_to_kwargs": {"replace_parser": {"replacer": {"yes": 1, "no": 2}}}},
            "no",
            2.0,
        ),
        # The first answer's token has 0.3 of the 0.4 that both have: 2 - 0.75.
        ("logprob_parser", TOKENS | {"is_binarize": False}, probable({"m": math.log(0.3), "M": math.log(0.1)}), 1.25),
        ("logprob_parser", TOKENS | {"is_binarize": False}, probable({"M": -0.5, "x": -1.0}), 2.0),
        ("logprob_parser", TOKENS, probable({"m": -0.1, "M": -2.5}), 1.0),
        ("logprob_parser", TOKENS, probable({"m": -2.5, "M": -0.1}), 2.0),
        ("logprob_parser", TOKENS | {"log_prob_index": -1}, probable({"a": -0.1}, {"m": -0.1}), 1.0),
    ],
)
def test_a_preference_is_read(name: str, arguments: dict[str, Any], text: str, expected: float) -> None:
    assert preference_parser(name, arguments)(text) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments", "text", "reason"),
    [
        ("ranking_parser", {}, RANKS % (3, 1), "the rank '3' is neither 1 nor 2"),
        ("ranking_parser", {}, "[{'model': 'model_2', 'rank': 1}]", "no list that ranks model_1"),
        ("ranking_parser", {}, "model_1 is better", "not a Python list"),
        ("ranking_parser", {}, "```python\n" + RANKS % (1, 2) + "\n```", "not a Python list"),
        ("ranking_parser", {}, "__import__('os').getcwd()", "not a Python list"),
        ("ranking_parser", {}, "(" * 100_000, "not a Python list"),
        ("ranking_parser", {}, "5", "no list that ranks model_1"),
        ("regex_parser", LETTERS, "Neither.", "0 preferences where one is needed"),
        ("regex_parser", LETTERS, "Answer (a)\nAnswer (b)", "2 preferences where one is needed"),
        ("lmsys_parser", {}, "The first: 7, the second: 3", "the first line is not two scores"),
        ("lmsys_parser", {}, "seven three", "the first line is not two scores"),
        ("json_parser", {"annotation_key": "p"}, '{"q": 1}', "no JSON with p"),
        ("json_parser", {"annotation_key": "p"}, '{"p": 3}', "'3' is no preference from 1 to 2"),
        ("json_parser", {"annotation_key": "p"}, '{"p": NaN}', "'nan' is no preference from 1 to 2"),
        ("eval_parser", {}, "'first'", "'first' is no preference from 1 to 2"),
        ("logprob_parser", TOKENS, probable({"x": -0.1}), "none of M, m is among the most probable tokens"),
        ("logprob_parser", TOKENS, probable({"m": -0.1}, {"M": -0.1}), "2 preferences where one is needed"),
        ("logprob_parser", TOKENS, "m", "no log-probabilities in the reply"),
    ],
)
def test_what_holds_no_preference_says_why(name: str, arguments: dict[str, Any], text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="preference|rank|list|scores|JSON|tokens|probabilities") as told:
        preference_parser(name, arguments)(text)
    assert str(told.value) == reason


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("rank_parser", {}, "the parser 'rank_parser' is not known. Known: regex_parser, ranking_parser"),
        ("ranking_parser", {"first": "m"}, "ranking_parser does not take the arguments {'first': 'm'}"),
        ("pipeline_meta_parser", {}, "pipeline_meta_parser needs parsers_to_kwargs, the parsers in order"),
        (
            "regex_parser",
            {"outputs_to_match": {1: "("}},
            "must map preferences to regular expressions, and one is none",
        ),
        ("regex_parser", {"outputs_to_match": None}, "must map preferences to regular expressions, and one is none"),
    ],
)
def test_a_config_that_makes_no_parser_is_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        preference_parser(name, arguments)
    assert message in str(told.value)


def test_an_expression_that_matches_nothing_at_all_is_no_endless_loop() -> None:
    parse = preference_parser("regex_parser", {"outputs_to_match": {1: "a*", 2: "b"}})
    with pytest.raises(ConfigError, match="matches nothing at all"):
        parse("b")
