"""Layers that are computed again in the backward pass: the same gradients, from less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from proxygold.models.causal_lm import decoder_layers
from proxygold.models.generation import generate, sample
from proxygold.models.gradient_checkpointing import checkpoint_layers
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings, SamplingSettings

SAMPLING = SamplingSettings(max_new_tokens=12)
PROMPTS = [[1, 2, 3], [4, 5]]


def policy_of(model: Any, tokenizer: Any, *, checkpointing: bool, **lora: Any) -> Policy:
    settings = PolicySettings(
        model="tiny",
        prompt_template="none",
        gradient_checkpointing=checkpointing,
        lora=LoraSettings(r=4, alpha=8, **lora),
    )
    policy = Policy(settings, model, tokenizer)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return policy


def train_pass(policy: Policy) -> tuple[list[torch.Tensor], int]:
    """Gradients of a pass over four rollouts, and the bytes that it kept for its backward pass."""
    draws = np.random.default_rng(0).random((4, SAMPLING.max_new_tokens))
    batch = sample(policy, PROMPTS, SAMPLING, draws, keep_frozen_hidden=True).batch
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch.manual_seed(0)
    with policy.adapter_dropout():
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            hidden = policy.response_hidden(batch)
        (policy.project(hidden.flatten(0, 1)).logsumexp(-1).sum() + policy.values(hidden).sum()).backward()
    return [parameter.grad for parameter in policy.trainable_parameters()], sum(kept.values())


@pytest.mark.parametrize("lora", [{}, {"layers": 1}, {"dropout": 0.5}], ids=["all layers", "upper layer", "dropout"])
def test_gradients_are_the_same_and_less_is_kept(
    tiny_llama: Any, word_tokenizer: Any, one_thread: None, lora: dict[str, Any]
) -> None:
    plain, all_of_it = train_pass(policy_of(tiny_llama(layers=6), word_tokenizer, checkpointing=False, **lora))
    again, less = train_pass(policy_of(tiny_llama(layers=6), word_tokenizer, checkpointing=True, **lora))
    assert all(bool(gradient.abs().sum() > 0) for gradient in plain)
    for one, other in zip(plain, again, strict=True):
        # Rounding: on a CPU, the attention of `plain` is written out.
        assert float((one - other).norm()) < 1e-4 * float(one.norm())
    assert less < 0.5 * all_of_it


@pytest.mark.parametrize("kind", ["gpt2", "qwen2", "gemma2", "opt"])
def test_layers_of_any_architecture(small_model: Any, kind: str) -> None:
    model = small_model(kind)
    ids = torch.tensor([[1, 2, 3, 4]])

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(input_ids=ids, use_cache=False).logits.logsumexp(-1).sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    plain = gradients()
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    layers = decoder_layers(model)
    checkpoint_layers(layers)
    inside = next(module for name, module in layers[0].named_modules() if name.endswith(("attn", "attention")))
    inside.register_forward_hook(count)
    again = gradients()
    assert calls == 2  # once forward, once again backward
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(plain, again, strict=True))


def test_sampling_is_untouched(tiny_llama: Any, word_tokenizer: Any) -> None:
    said = [
        generate(policy_of(tiny_llama(), word_tokenizer, checkpointing=on), ["w1 w2", "w3"], SAMPLING, seed=0)
        for on in (False, True)
    ]
    assert said[0] == said[1]
