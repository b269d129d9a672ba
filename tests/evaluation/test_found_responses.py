"""Answers found in files, and what is counted in them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold.errors import DataError
from proxygold.evaluation.answers.outputs import read_outputs
from proxygold.evaluation.responses.found import Response, find_responses
from proxygold.evaluation.responses.measures import count_tokens, has_sentence, surface_measures
from proxygold.records import PromptRecord
from proxygold.text import GENERIC_STOP_STRINGS

PROMPTS = [
    PromptRecord("a", "Why?"),
    PromptRecord("b", [{"role": "user", "content": "How?"}]),
    PromptRecord("c", "Who?"),
]


def outputs(path: Path, *rows: dict[str, Any]) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_outputs(path)


def test_rows_are_told_by_what_was_asked_else_by_id(tmp_path: Path) -> None:
    given = outputs(
        tmp_path / "o.jsonl",
        {"instruction": "How?", "output": "So.\n\n\n\nQ: and now?", "id": "a"},
        {"prompt_id": "a", "completion": "Because.", "tokens": 5, "finished": True},
        {"prompt": "Why?", "completion": "Once more.", "tokens": 7},
        {"prompt": "When?", "completion": "Then."},
        {"prompt": "Who?"},
        {"id": "z", "completion": "Nobody."},
    )
    found = find_responses(given, PROMPTS, GENERIC_STOP_STRINGS)
    assert found.answers == [Response("Because.", 5, True), Response("So.", None, None), None]
    assert found.reasons == [None, None, "no answer in the file"]
    assert found.left_out() == {"no answer in the file": 1}
    assert found.surplus == 1
    assert [(row.line, row.reason) for row in found.strange] == [
        (4, "none of the prompts was asked"),
        (6, "none of the prompts was asked"),
    ]


def test_a_file_that_answers_other_prompts(tmp_path: Path) -> None:
    given = outputs(tmp_path / "o.jsonl", {"prompt": "When?", "completion": "Then."})
    with pytest.raises(
        DataError, match=r"no row of .*o\.jsonl answers one of the 3 prompts. Rows are told by prompt or instruction"
    ):
        find_responses(given, PROMPTS, ())


def test_what_is_counted() -> None:
    answers = [
        Response("a b a b a b", 7, True),  # 3 4-grams: a b a b, b a b a, a b a b; 1 - 2/3
        Response("It's me.", 4, False),  # It ' s me . : 5 words; It's m, 's me: 2 4-grams
        Response("", 1, True),
        None,
    ]
    values = surface_measures(answers)
    assert list(values) == ["tokens", "words", "repetition_4", "ended"]
    np.testing.assert_array_equal(values["tokens"], [7, 4, 1, math.nan])
    np.testing.assert_array_equal(values["words"], [6, 5, 0, math.nan])
    np.testing.assert_allclose(values["repetition_4"], [1 / 3, 0, 0, math.nan])
    np.testing.assert_array_equal(values["ended"], [100, 0, 100, math.nan])
    # 5 bigrams, 2 different
    assert surface_measures(answers[:1], ngram=2)["repetition_2"][0] == pytest.approx(1 - 2 / 5)


def test_tokens_of_a_model(tiny_models: tuple[Path, Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_models[0])
    text = "Photosynthesis, they say."
    plain = len(tokenizer(text)["input_ids"])
    answers = [Response(text, None, None), Response(text, None, False), None]
    # The end counts, where it came or nobody knows.
    np.testing.assert_array_equal(count_tokens(answers, str(tiny_models[0])), [plain + 1, plain, math.nan])


def test_what_has_a_sentence() -> None:
    assert has_sentence(Response("Yes", None, None))
    assert not any(map(has_sentence, [None, Response("", 1, True), Response("--- \n…", 1, True)]))
