"""A merged adapter: a directory that any program loads, with the outputs of base and adapter together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from proxygold.errors import ConfigError, ModelError, StoreError
from proxygold.models.merging import merge_adapter
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.models.reward_models import load_reward_model
from proxygold.records import Example

IDS = torch.tensor([[1, 2, 3, 4]])
TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


@pytest.fixture
def base(tiny_llama: Any, word_tokenizer: Any, tmp_path: Path) -> Path:
    directory = tmp_path / "base"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    return directory


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """A checkpoint as PPO writes it, in the place where it writes it."""
    settings = PolicySettings(model=str(base), lora=LoraSettings(r=4, alpha=8), dtype="float32", device="cpu")
    policy = Policy.load(settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    directory = tmp_path / "runs/x/LI/seed-0/checkpoints/step-2"
    directory.mkdir(parents=True)
    policy.save_adapter(directory)
    return directory


def by_hand(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """The base's weights plus alpha/r · B·A, from the two files."""
    weights = load_file(base / "model.safetensors")
    parts = load_file(adapter / "adapter_model.safetensors")
    for name, lora_a in parts.items():
        if name.endswith("lora_A.weight"):
            place = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
            weights[place] = weights[place] + 8 / 4 * parts[name.replace("lora_A", "lora_B")] @ lora_a
    return weights


def test_weights_are_those_of_base_and_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    merged = merge_adapter(str(adapter), tmp_path / "merged")
    assert (merged.kind, merged.dtype, merged.base) == ("language model", "float32", str(base))
    expected, found = by_hand(base, adapter), load_file(tmp_path / "merged/model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    original = load_file(base / "model.safetensors")
    assert sum(not torch.equal(found[name], original[name]) for name in found) == 6  # q and v of three layers
    # transformers by itself loads it, with its tokenizer and its chat template; nothing of the adapter is left.
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == TEMPLATE
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert not {"adapter_config.json", "value_head.safetensors"} & names
    record = json.loads((tmp_path / "merged/merged.json").read_text())
    assert record == {"adapter": str(adapter), "base": str(base), "dtype": "float32"}


def test_the_dtype_is_the_bases_or_the_one_that_is_asked_for(base: Path, adapter: Path, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    assert merge_adapter(str(adapter), tmp_path / "auto").dtype == "bfloat16"
    stored = load_file(tmp_path / "auto/model.safetensors")
    # Added in float32 and rounded once: the base itself is stored in float32 here, and was not rounded before.
    expected = by_hand(base, adapter)
    assert all(torch.equal(stored[name], expected[name].bfloat16()) for name in expected)
    assert merge_adapter(str(adapter), tmp_path / "half", dtype="float16").dtype == "float16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "half").dtype == torch.float16


def test_an_adapter_on_an_adapter(adapter: Path, base: Path, tmp_path: Path) -> None:
    """As PPO on top of an SFT adapter writes it."""
    (adapter / "chat_template.jinja").write_text(TEMPLATE)
    settings = PolicySettings(model=str(adapter), lora=LoraSettings(r=2), dtype="float32", device="cpu")
    Policy.load(settings).save_adapter(tmp_path)  # a fresh one, which changes nothing
    merged = merge_adapter(str(tmp_path), tmp_path / "merged")
    expected, found = by_hand(base, adapter), load_file(merged.directory / "model.safetensors")
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)
    assert merged.dtype == "float32"


def test_a_reward_model_is_merged_as_one(word_tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, num_labels=1, pad_token_id=0, eos_token_id=0,
        bos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    for directory in ("base", "adapter"):
        word_tokenizer.save_pretrained(tmp_path / directory)
        (tmp_path / directory / "chat_template.jinja").write_text(TEMPLATE)
    model.save_pretrained(tmp_path / "base")
    lora = LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["q_proj"], modules_to_save=["score"], init_lora_weights=False
    )
    adapted = get_peft_model(model, lora)
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapter")
    merged = merge_adapter(str(tmp_path / "adapter"), tmp_path / "merged")
    assert merged.kind == "reward model"
    examples = [Example("w1 w2", "w3"), Example("w4", "w5 w6 w7")]
    scores = [
        load_reward_model(str(tmp_path / name), device="cpu", dtype="float32").score(examples)[0]
        for name in ("adapter", "merged", "base")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    assert scores[1] != pytest.approx(scores[2], abs=1e-3)


def test_what_cannot_be_merged_is_told(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a whole model, which needs no merging"):
        merge_adapter(str(base), tmp_path / "out")
    with pytest.raises(ModelError, match=r"Give one of those below it:\n  .*/seed-0/checkpoints/step-2"):
        merge_adapter(str(tmp_path / "runs/x"), tmp_path / "out")
    with pytest.raises(ModelError, match="is not a directory"):
        merge_adapter(str(tmp_path / "nowhere"), tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    with pytest.raises(StoreError, match="taken exists. Give another --out, or write over it with --force"):
        merge_adapter(str(adapter), tmp_path / "taken")
    parts = load_file(adapter / "adapter_model.safetensors")
    first = next(iter(parts))
    save_file({**parts, first: parts[first] * float("nan")}, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="has weights that are not finite. Take another checkpoint"):
        merge_adapter(str(adapter), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "taken/file").read_text() == "mine"
