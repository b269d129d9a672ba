"""A policy's training passes over padded rows: the model's own numbers, with each prompt read once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.models.token_batch import TokenBatch

# Two responses to each of two prompts, one of which is padded on the left by three columns.
PROMPTS = [[1, 2, 3, 4], [1, 2, 3, 4], [5], [5]]
RESPONSES = [[6, 7, 0], [8], [9, 10, 11, 12], [13, 0]]
ROWS = TokenBatch.build(PROMPTS, RESPONSES, pad_token_id=0)


@pytest.mark.parametrize("together", [False, True], ids=["rows apart", "rows of a prompt together"])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_a_padded_row_has_the_positions_of_one_without_padding(
    small_model: Any, word_tokenizer: Any, together: bool
) -> None:
    """GPT-2 adds a vector for each position, so a shift by the padding shows; rotary positions do not see one."""
    model = small_model("gpt2")
    lora = LoraSettings(target_modules=("c_attn",))
    policy = Policy(PolicySettings(model="gpt2", prompt_template="none", lora=lora), model, word_tokenizer)
    with torch.no_grad():
        trained = policy.response_hidden(replace(ROWS, rows_per_prompt=2) if together else ROWS)
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            whole = model.base_model(input_ids=torch.tensor([prompt + response])).last_hidden_state[0]
            predicting = whole[len(prompt) - 1 : -1]
            torch.testing.assert_close(trained[row, : len(response)], predicting, atol=1e-4, rtol=1e-4)


def test_a_prompt_is_read_once_for_all_its_responses(tiny_policy: Any) -> None:
    policy = tiny_policy()
    read: list[int] = []
    policy.trunk.register_forward_pre_hook(
        lambda _module, _arguments, keywords: read.append(keywords["input_ids"].numel()), with_kwargs=True
    )
    policy.response_hidden(ROWS)
    policy.response_hidden(replace(ROWS, rows_per_prompt=2))
    # The last of the 4 response columns predicts nothing: 4 rows of 4 + 3 tokens, or 2 prompts of 4 + 2 x 3.
    assert read == [28, 20]
