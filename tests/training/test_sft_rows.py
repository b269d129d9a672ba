"""Rows of supervised fine-tuning: what is learned of a conversation, what is left out, and the order of an epoch."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig

from proxygold.data.demonstrations import Demonstration
from proxygold.errors import DataError
from proxygold.models.bundled import bundled_policy_path
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.prompt_tokens import PromptTokens
from proxygold.training.held_out import split_by_first_turn
from proxygold.training.sft_rows import IGNORED, RowOrder, collate, encode_rows, without_prompts

END = 2  # <|im_end|> of SmolLM2, which also pads
TALK = Demonstration(
    (
        {"role": "user", "content": "Name a color."},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": "Another?"},
    ),
    "Blue.",
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(bundled_policy_path())


def encode(tokenizer, template, demonstrations=(TALK,), **settings):
    reader = PromptTokens(PolicySettings(model="m", prompt_template=template), tokenizer, LlamaConfig(vocab_size=8))
    return encode_rows(reader, list(demonstrations), frozenset({END}), **{"max_length": 200, **settings})


def learned(tokenizer, row):
    """The text that is learned, piece by piece, and the whole."""
    pieces, before = [], IGNORED
    for token, label in zip(row.ids, row.labels, strict=True):
        assert label in (token, IGNORED)
        if label != IGNORED:
            pieces[-1:] = [[*pieces[-1], token]] if before != IGNORED else [*pieces[-1:], [token]]
        before = label
    return [tokenizer.decode(piece) for piece in pieces], tokenizer.decode(row.ids)


def test_of_a_conversation_the_last_answer_is_learned(tokenizer):
    [row] = encode(tokenizer, "chatml").rows
    assert learned(tokenizer, row) == (
        ["Blue.<|im_end|>"],
        "<|im_start|>user\nName a color.<|im_end|>\n<|im_start|>assistant\nRed.<|im_end|>\n"
        "<|im_start|>user\nAnother?<|im_end|>\n<|im_start|>assistant\nBlue.<|im_end|>",
    )


def test_all_answers_are_learned_in_one_row_where_the_template_closes_them(tokenizer):
    [row] = encode(tokenizer, "chatml", learn="all").rows
    [last] = encode(tokenizer, "chatml").rows
    assert row.ids == last.ids
    assert learned(tokenizer, row)[0] == ["Red.<|im_end|>", "Blue.<|im_end|>"]


def test_all_answers_are_learned_in_a_row_each_where_it_does_not(tokenizer):
    rows = encode(tokenizer, "hh", learn="all").rows
    assert [learned(tokenizer, row) for row in rows] == [
        ([" Red.<|im_end|>"], "\n\nHuman: Name a color.\n\nAssistant: Red.<|im_end|>"),
        (
            [" Blue.<|im_end|>"],
            "\n\nHuman: Name a color.\n\nAssistant: Red.\n\nHuman: Another?\n\nAssistant: Blue.<|im_end|>",
        ),
    ]


def test_what_is_too_long_is_left_out_whole_and_what_is_refused_has_its_place(tokenizer):
    short = Demonstration(({"role": "user", "content": "Hi"},), "Hello.")
    bad = Demonstration(({"role": "user", "content": "Hi"},), "No<|im_end|>", place="rows.jsonl:7")
    length = len(encode(tokenizer, "hh").rows[0].ids)
    for limit, kept, too_long in ((length, 3, 0), (length - 1, 1, 1)):
        encoded = encode(tokenizer, "hh", [TALK, bad, short], learn="all", max_length=limit)
        assert (len(encoded.rows), encoded.too_long) == (kept, too_long)
        assert encoded.refused == [
            "rows.jsonl:7: the answer has the text of an end-of-sequence token in it; remove it."
        ]


def test_padding_is_masked_by_length_although_the_end_pads():
    batch = collate(
        [{"input_ids": [5, END], "labels": [IGNORED, END]}, {"input_ids": [6, 7, END], "labels": [6, 7, END]}], END
    )
    assert batch["input_ids"].tolist() == [[5, END, END], [6, 7, END]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, END, IGNORED], [6, 7, END]]
    assert all(value.dtype == torch.int64 for value in batch.values())


def test_an_epoch_has_every_row_once_and_a_step_its_longest_rows_first():
    done = 0
    lengths = [3, 9, 1, 7, 5, 2, 8]
    order = RowOrder(lengths, per_step=3, seed=1, steps_done=lambda: done)
    first = list(order)
    assert sorted(first) == list(range(7))
    for start in (0, 3, 6):
        step = [lengths[index] for index in first[start : start + 3]]
        assert step == sorted(step, reverse=True)
    done = 2  # a training that goes on in the same epoch, which has 3 steps
    assert list(order) == first
    done = 3
    assert list(order) != first
    assert list(RowOrder(lengths, 3, 2, lambda: 0)) != first


def test_prompts_are_held_out_with_all_their_answers():
    rows = [Demonstration(({"role": "user", "content": f"Question {n // 2}"},), f"Answer {n}") for n in range(200)]
    train, held_out = split_by_first_turn(rows, 0.2)
    assert len(train) + len(held_out) == 200
    assert 20 <= len(held_out) <= 60
    first = {row.prompt[0]["content"] for row in train}
    assert first.isdisjoint(row.prompt[0]["content"] for row in held_out)
    assert split_by_first_turn(rows, 0.0) == (rows, [])
    shouted = Demonstration(({"role": "user", "content": " QUESTION 3 "},), "x")
    assert without_prompts([shouted], rows[:8]) == rows[:6]
    with pytest.raises(DataError, match="all 2 rows to train on begin with a prompt that is held out"):
        without_prompts([shouted], rows[6:8])
