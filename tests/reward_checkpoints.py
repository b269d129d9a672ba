"""Reward models as they were published, for tests: tiny ones of random weights in each format, saved."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from proxygold.models.reward_models import check_reward_model, load_reward_model
from proxygold.models.reward_settings import reward_model_settings

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
WORDS = ["name", "a", "colour", "green", "red", ".", "why", "hi", "yo", "who", "me", "human", ":", "assistant"]


def load(directory, **settings):
    return load_reward_model(str(directory), **{"device": "cpu", "dtype": "float32"} | settings)


def check(directory, **settings):
    check_reward_model(reward_model_settings(model=str(directory), device="cpu", **settings))


def byte_tokenizer():
    """Bytes, and the two tokens of ChatML, of which the one that ends a turn also pads. No chat template, as Llama's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")  # fmt: skip


def trunk_and_head(tokenizer, kind="llama"):
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    trunk = AutoModel.from_config(AutoConfig.for_model(kind, **sizes)).eval()
    return trunk, nn.Linear(32, 1, bias=False)


def published(directory, tokenizer, trunk, head, *, trunk_name, head_name, architecture, file="safetensors"):
    """A checkpoint with the names that the authors' own classes give to its tensors."""
    directory.mkdir(parents=True, exist_ok=True)
    trunk.config.architectures = [architecture]
    trunk.config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    tensors = {f"{trunk_name}.{name}": tensor.contiguous() for name, tensor in trunk.state_dict().items()}
    tensors[f"{head_name}.weight"] = head.weight.detach()
    if file == "safetensors":
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        return directory
    # In two files with an index, as models of this size are.
    names = sorted(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for part, held in parts.items():
        torch.save({name: tensors[name] for name in held}, directory / part)
    index = {"metadata": {}, "weight_map": {name: part for part, held in parts.items() for name in held}}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return directory


def starling_checkpoint(directory, tokenizer):
    trunk, head = trunk_and_head(tokenizer)
    names = {"trunk_name": "transformer", "head_name": "v_head", "architecture": "LlamaForSequenceClassification"}
    return published(directory, tokenizer, trunk, head, **names)
