"""Decoding steps in few operations: the numbers of the model's own, and nothing for models that are built otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from proxygold.models.decoding_cache import decoding_cache
from proxygold.models.llama_decoder import LlamaDecoder, can_decode
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings

SIZES = {
    "vocab_size": 16,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.25,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _frozen(model: Any) -> Any:
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _steps(model: Any, step: Callable[..., Any]) -> torch.Tensor:
    """The hidden states of four steps after three prompts, of which two are padded on the left."""
    ids = torch.tensor([[0, 0, 5, 6], [1, 2, 3, 4], [0, 7, 8, 9]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    cache = decoding_cache(model.config, 8)
    model.base_model(input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True)
    position, found = places[:, -1:], []
    for number in range(4):
        position = position + 1
        mask = torch.cat([mask, mask.new_ones(3, 1)], dim=1)
        found.append(step(torch.tensor([number, 3, 15 - number]), position, mask, cache))
    return torch.stack(found)


def _own(model: Any) -> Callable[..., torch.Tensor]:
    def step(tokens: torch.Tensor, position: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        output = model.base_model(
            input_ids=tokens[:, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True
        )
        return output.last_hidden_state[:, 0]

    return step


def _agree(model: Any, decoder: LlamaDecoder) -> bool:
    own = _steps(model, _own(model))
    ours = _steps(model, lambda *given: decoder.step(*given)[0])
    return torch.allclose(own, ours, atol=1e-5)


def test_the_steps_are_the_models_own(tiny_llama: Callable[..., Any]) -> None:
    model = _frozen(tiny_llama())
    assert can_decode(model)
    decoder = LlamaDecoder(model, model.lm_head)
    assert _agree(model, decoder)
    hidden = torch.randn(5, 32)
    assert torch.allclose(decoder.project(hidden), model.lm_head(hidden), atol=1e-5)


def test_without_padding_nothing_is_hidden(tiny_llama: Callable[..., Any]) -> None:
    model = _frozen(tiny_llama())
    decoder = LlamaDecoder(model, None)
    states = []
    with torch.no_grad():
        for step in (_own(model), lambda *given: decoder.step(*given)[0]):
            cache = decoding_cache(model.config, 4)
            ids = torch.tensor([[1, 2], [3, 4]])
            model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
            tokens, position = torch.tensor([5, 6]), torch.tensor([[2], [2]])
            states.append(step(tokens, position, torch.ones(2, 3, dtype=torch.long), cache))
    assert torch.allclose(*states, atol=1e-5)
    assert decoder.project(states[0]) is None


def test_adapters_are_part_of_it_as_they_are_now(tiny_llama: Callable[..., Any], word_tokenizer: Any) -> None:
    lora = LoraSettings(r=4, alpha=8, target_modules=EVERY)
    policy = Policy(PolicySettings(model="tiny", prompt_template="none", lora=lora), tiny_llama(), word_tokenizer)
    fresh = policy.step_decoder()
    before = _steps(policy.causal_lm, lambda *given: fresh.step(*given)[0])
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    trained = policy.step_decoder()
    assert _agree(policy.causal_lm, trained)
    after = _steps(policy.causal_lm, lambda *given: trained.step(*given)[0])
    assert not torch.allclose(before, after, atol=1e-2)
    with policy.reference():
        reference = policy.step_decoder()
        off = _steps(policy.causal_lm, lambda *given: reference.step(*given)[0])
    assert torch.allclose(before, off, atol=1e-5)


def test_what_left_the_frozen_layers(tiny_llama: Callable[..., Any]) -> None:
    model = _frozen(tiny_llama())
    decoder = LlamaDecoder(model, None)
    seen: list[torch.Tensor] = []
    handle = model.base_model.layers[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    _steps(model, _own(model))
    handle.remove()
    kept: list[torch.Tensor] = []

    def step(*given: Any) -> torch.Tensor:
        hidden, frozen = decoder.step(*given, 2)
        kept.append(frozen)
        return hidden

    _steps(model, step)
    assert [tuple(states.shape) for states in kept] == [(3, 1, 32)] * 4
    for own, ours in zip(seen[1:], kept, strict=True):  # the first are the prompts'
        assert torch.allclose(own, ours, atol=1e-5)


def test_mistral_is_built_like_it() -> None:
    torch.manual_seed(0)
    model = _frozen(MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None)))
    assert can_decode(model)
    assert _agree(model, LlamaDecoder(model, model.lm_head))


@pytest.mark.parametrize(
    "model",
    [
        # Norms of queries and keys are parts that Llama has not.
        pytest.param(lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)), id="other parts"),
        # The same parts, and factors between them that only the numbers tell.
        pytest.param(lambda: GraniteForCausalLM(GraniteConfig(**SIZES, residual_multiplier=0.5)), id="other numbers"),
        pytest.param(
            lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4)), id="attention within a window"
        ),
        pytest.param(lambda: MistralForCausalLM(MistralConfig(**SIZES, hidden_act="gelu")), id="another activation"),
        pytest.param(lambda: MistralForCausalLM(MistralConfig(**SIZES)).double(), id="float64"),
    ],
)
def test_others_are_left_to_transformers(model: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    assert not can_decode(_frozen(model()))
