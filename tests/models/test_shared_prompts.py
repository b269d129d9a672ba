"""Reading a prompt once for all its responses gives what reading it for each gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, MistralConfig

from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.models.shared_prompts import can_pack, pack
from proxygold.models.token_batch import TokenBatch

PROMPTS = [[1, 2, 3], [0, 0], [4]]
RESPONSES = [[5, 6, 0], [7], [0], [8, 9, 10, 0], [3, 3], [11, 12, 13, 14]]
QV = ("q_proj", "v_proj")


def rows_and_packed() -> tuple[TokenBatch, TokenBatch]:
    rows = TokenBatch.build([prompt for prompt in PROMPTS for _ in range(2)], RESPONSES, pad_token_id=0)
    return rows, replace(rows, rows_per_prompt=2)


def test_layout() -> None:
    _, batch = rows_and_packed()
    packed = pack(batch, torch.float32)
    # prompts of 3 columns, then two responses of 4 columns less the last
    assert packed.input_ids.tolist() == [
        [1, 2, 3, 5, 6, 0, 7, 0, 0],
        [0, 0, 0, 0, 0, 0, 8, 9, 10],
        [0, 0, 4, 3, 3, 0, 11, 12, 13],
    ]
    assert packed.position_ids[0].tolist() == [0, 1, 2, 3, 4, 5, 3, 3, 3]
    seen = (packed.attention_mask[:, 0] == 0).int()
    # the first response's second token: the prompt, and its own response so far
    assert seen[0, 4].tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0]
    # the second response's first token: the prompt and itself, nothing of the first response
    assert seen[0, 6].tolist() == [1, 1, 1, 0, 0, 0, 1, 0, 0]
    # the second prompt's padding is not seen by anybody
    assert seen[1, 6].tolist() == [0, 1, 1, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("layers", [None, 1])
def test_hidden_states_and_gradients_are_those_of_separate_rows(tiny_policy: Any, layers: int | None) -> None:
    policy = tiny_policy(perturbed=True, layers=layers)
    results = []
    for batch in rows_and_packed():
        with policy.frozen.capture() as captured, torch.no_grad():
            policy.trunk(
                input_ids=batch.input_ids[:, :-1],
                attention_mask=batch.attention_mask[:, :-1],
                position_ids=batch.position_ids[:, :-1],
            )
        hidden = policy.response_hidden(replace(batch, frozen_hidden=captured[0] if captured else None))
        chosen = hidden[batch.response_mask]
        adapter = policy.trainable_parameters()[:-2]
        results.append((chosen.detach(), torch.autograd.grad((chosen**2).mean(), adapter)))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-4)
    for separate, packed in zip(results[0][1], results[1][1], strict=True):
        assert torch.allclose(separate, packed, atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    ("kind", "changes", "targets"),
    [("gpt2", {}, ("c_attn",)), ("qwen3", {}, QV), ("mistral", {"sliding_window": None}, QV)],
)
def test_other_architectures(
    small_model: Any, word_tokenizer: Any, kind: str, changes: dict[str, Any], targets: tuple[str, ...]
) -> None:
    model = small_model(kind, **changes)
    lora = LoraSettings(target_modules=targets)
    policy = Policy(PolicySettings(model=kind, prompt_template="none", lora=lora), model, word_tokenizer)
    assert can_pack(model.config)
    rows, packed = rows_and_packed()
    with torch.no_grad():
        separate, together = policy.response_hidden(rows), policy.response_hidden(packed)
    assert torch.allclose(separate[rows.response_mask], together[rows.response_mask], atol=1e-4)


def test_windows_and_fused_kernels_keep_separate_rows() -> None:
    windowed = MistralConfig(sliding_window=3, attn_implementation="sdpa")
    assert not can_pack(windowed)
    fused = LlamaConfig(attn_implementation="flash_attention_2")
    assert not can_pack(fused)


def test_whole_prompts_stay_together_and_parts_do_not() -> None:
    _, batch = rows_and_packed()
    for index, rows_per_prompt in (([0, 1], 2), ([4, 5, 0, 1], 2), ([0, 1, 2], 1), ([1, 2], 1), ([1, 0], 1)):
        assert batch.rows(torch.tensor(index)).rows_per_prompt == rows_per_prompt, index
