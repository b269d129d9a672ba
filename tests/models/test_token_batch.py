"""The rectangle of tokens: padding, masks and positions, laid out by hand."""

from __future__ import annotations

import torch

from proxygold.models.token_batch import TokenBatch

# 0 is both padding and end of sequence; the second prompt and both responses contain it as a real token.
PROMPTS = [[5, 6, 7], [0]]
RESPONSES = [[8, 0], [9, 9, 0, 4]]


def batch() -> TokenBatch:
    return TokenBatch.build(PROMPTS, RESPONSES, pad_token_id=0)


def test_layout() -> None:
    built = batch()
    assert built.prompt_width == 3
    assert built.input_ids.tolist() == [[5, 6, 7, 8, 0, 0, 0], [0, 0, 0, 9, 9, 0, 4]]
    assert built.attention_mask.int().tolist() == [[1, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 1]]
    assert built.position_ids.tolist() == [[0, 1, 2, 3, 4, 4, 4], [0, 0, 0, 1, 2, 3, 4]]
    assert built.response_mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert built.response_ids.tolist() == [[8, 0, 0, 0], [9, 9, 0, 4]]


def test_rows_drop_the_columns_that_are_padding_in_all_of_them() -> None:
    first = batch().rows(torch.tensor([0]))
    assert first.input_ids.tolist() == [[5, 6, 7, 8, 0]]
    assert first.response_mask.int().tolist() == [[1, 1]]
    second = batch().rows(torch.tensor([1]))
    assert second.prompt_width == 1
    assert second.input_ids.tolist() == [[0, 9, 9, 0, 4]]
    assert second.position_ids.tolist() == [[0, 1, 2, 3, 4]]


def test_rows_take_the_frozen_hidden_states_along() -> None:
    built = batch()
    hidden = torch.arange(2 * 6 * 1).float().view(2, 6, 1)  # 7 columns, less the last
    object.__setattr__(built, "frozen_hidden", hidden)
    second = built.rows(torch.tensor([1])).frozen_hidden
    assert second is not None
    assert second.flatten().tolist() == [8, 9, 10, 11]  # row 1, columns 2 to 5


def test_rows_can_be_reordered() -> None:
    assert batch().rows(torch.tensor([1, 0])).input_ids.tolist() == batch().input_ids.flip(0).tolist()
