"""Weights in 8 and 4 bits: what is quantised, what still learns, and what is said where it cannot be."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from proxygold.errors import ConfigError, ModelError
from proxygold.models.causal_lm import load_causal_lm
from proxygold.models.generation import generate, sample
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings, SamplingSettings

CPU = torch.device("cpu")
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: pip install '.[quantized]'"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: Any, word_tokenizer: Any) -> Path:
    """A model whose layers are wide enough for blocks of 64 weights."""
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        vocab_size=16, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, initializer_range=0.2, eos_token_id=0, pad_token_id=0,
        bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    word_tokenizer.save_pretrained(path)
    return path


def settings(directory: Path, quantization: Any) -> PolicySettings:
    lora = LoraSettings(r=4, alpha=8)
    return PolicySettings(
        model=str(directory),
        prompt_template="none",
        dtype="float32",
        device="cpu",
        quantization=quantization,
        lora=lora,
    )


# Relative error of a product with normal weights: half a step of 8 bits over the largest of a row, or of NF4's 16 values
# over the largest of 64 weights, which QLoRA measures at some 0.1.
@needs_bitsandbytes
@pytest.mark.parametrize(("quantization", "size", "error"), [("8bit", 1, 0.02), ("4bit", 0.5, 0.15)])
def test_linear_layers_are_quantised_and_nothing_else(
    directory: Path, quantization: Any, size: float, error: float
) -> None:
    plain = load_causal_lm(str(directory), torch.float32, CPU)
    model = load_causal_lm(str(directory), torch.float32, CPU, quantization)
    for name, module in plain.named_modules():
        other = model.get_submodule(name)
        if type(module) is torch.nn.Linear and name != "lm_head":
            weight = other.weight
            assert weight.numel() * weight.element_size() == size * module.weight.numel()
            inputs = torch.randn(64, module.in_features, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                expected, found = module(inputs), other(inputs)
            assert 0 < float((found - expected).norm() / expected.norm()) < error, name
        elif not list(module.children()) and list(module.parameters()):
            assert torch.equal(other.weight, module.weight), name
    assert not model.training


@needs_bitsandbytes
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_quantised_policy_samples_and_its_adapter_learns(directory: Path, quantization: Any) -> None:
    policy = Policy.load(settings(directory, quantization))
    sampling = SamplingSettings(max_new_tokens=6)
    frozen = {name: value.clone() for name, value in policy.causal_lm.state_dict().items() if "lora" not in name}
    [answer] = generate(policy, ["w1 w2"], sampling, seed=0)
    assert answer.token_ids
    batch = sample(policy, [[1, 2, 3]] * 2, sampling, np.random.default_rng(0).random((2, 6))).batch
    parameters = policy.trainable_parameters()
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    optimiser = torch.optim.SGD(parameters, lr=0.1)
    losses = []
    for _ in range(4):
        hidden = policy.response_hidden(batch)
        logprobs = policy.project(hidden.flatten(0, 1)).float().log_softmax(-1)[:, 7]
        loss = -logprobs.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    with policy.reference():
        apart = policy.project(policy.response_hidden(batch).flatten(0, 1))
    assert not torch.allclose(apart.float().log_softmax(-1)[:, 7], logprobs, atol=1e-2)
    after = policy.causal_lm.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())


def test_an_adapter_must_be_merged_first(directory: Path, tmp_path: Path) -> None:
    Policy.load(settings(directory, "none")).save_adapter(tmp_path)
    with pytest.raises(ConfigError, match=r"is an adapter of .* Merge it first: proxygold merge .* --out DIR"):
        Policy.load(settings(tmp_path, "4bit"))


def test_without_bitsandbytes_the_extra_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    with pytest.raises(
        ModelError, match=r"needs bitsandbytes, which is not installed. Run: pip install 'proxygold\[quantized\]'"
    ):
        Policy.load(settings(directory, "8bit"))
