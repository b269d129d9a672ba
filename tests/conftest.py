"""Shared fixtures. A study that takes seconds: a random two-layer policy, a random gold model, eight prompts."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from proxygold.models.bundled import bundled_policy_path

TRAIN = [
    {"id": "t1", "prompt": "Name a color.", "query_type": "open_ended"},
    {"id": "t2", "prompt": "What is 2 + 2?", "reference": "4", "query_type": "closed_ended"},
    {"id": "t3", "prompt": "Write a word.", "query_type": "open_ended"},
    {"id": "t4", "prompt": "What is 3 + 3?", "reference": "6", "query_type": "CONSTRAINED"},
]
VALIDATION = [
    {"id": "v1", "prompt": "Name an animal.", "query_type": "open_ended"},
    {"id": "v2", "prompt": "What is 5 + 5?", "reference": "10", "query_type": "closed_ended"},
    {"id": "v3", "prompt": "Name a tree.", "query_type": "OPENENDED"},
    {"id": "v4", "prompt": "What is 1 + 2?", "reference": "3", "query_type": "closed_ended"},
]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A policy and a gold model of 2 layers with SmolLM2's own tokenizer (pad is eos there: the trap is part of the test)."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(bundled_policy_path())
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes, **ends)
    policy, gold = (tmp_path_factory.mktemp(name) for name in ("policy", "gold"))
    LlamaForCausalLM(config).save_pretrained(policy)
    config.num_labels = 1
    LlamaForSequenceClassification(config).save_pretrained(gold)
    for directory in (policy, gold):
        tokenizer.save_pretrained(directory)
    return policy, gold


@pytest.fixture
def study_file(tmp_path: Path, tiny_models: tuple[Path, Path]) -> Path:
    """A study file of two lexical rewards, 6 steps, validated at every second."""
    policy, gold = tiny_models
    study = {
        "name": "tiny",
        "policy": {"model": str(policy), "dtype": "float32", "lora": {"r": 2, "alpha": 4}},
        "data": {
            "train": str(write_jsonl(tmp_path / "train.jsonl", list(TRAIN))),
            "validation": str(write_jsonl(tmp_path / "validation.jsonl", list(VALIDATION))),
        },
        "rewards": {"LI": "LI", "LI_RP": "LI * RP"},
        "gold": {"model": str(gold)},
        "training": {"steps": 6, "batch_size": 4, "ppo_epochs": 1, "learning_rate": 0.05, "max_new_tokens": 8},
        "validation": {"every": 2, "max_new_tokens": 8, "batch_size": 4},
        "analysis": {"draws": 200},
        "seeds": [0],
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


# --- a policy of fifteen words, without files -------------------------------------------------------------------------

WORDS = 15  # beside the end token


@pytest.fixture(scope="session")
def word_tokenizer() -> Any:
    """Token 0 is `<end>`, which also pads; token i is the word `wi`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<end>": 0, **{f"w{i}": i for i in range(1, WORDS + 1)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


@pytest.fixture(scope="session")
def tiny_llama() -> Callable[..., Any]:
    """Builds a 3-layer Llama with grouped attention. Its weights are large, so that its distributions are far from flat."""

    def build(vocabulary: int = WORDS + 1, layers: int = 3, eos: int = 0, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            initializer_range=0.25,
            eos_token_id=eos,
            pad_token_id=eos,
            bos_token_id=None,
            tie_word_embeddings=True,
        )
        return LlamaForCausalLM(config).eval()

    return build


@pytest.fixture(scope="session")
def tiny_policy(tiny_llama: Callable[..., Any], word_tokenizer: Any) -> Callable[..., Any]:
    """Builds a policy on the tiny Llama. `perturbed` moves adapter and value head away from their start."""

    def build(
        *,
        layers: int | None = None,
        dropout: float = 0.0,
        dtype: str = "float32",
        seed: int = 0,
        perturbed: bool = False,
    ) -> Any:
        from proxygold.models.policy import Policy
        from proxygold.models.policy_settings import LoraSettings, PolicySettings

        lora = LoraSettings(r=4, alpha=8, dropout=dropout, layers=layers)
        settings = PolicySettings(model="tiny", prompt_template="none", lora=lora)
        policy = Policy(settings, tiny_llama().to(getattr(torch, dtype)), word_tokenizer, seed=seed)
        if perturbed:
            generator = torch.Generator().manual_seed(seed + 1)
            with torch.no_grad():
                for parameter in policy.trainable_parameters():
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        return policy

    return build


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums over several threads may differ in their last bits from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- several processes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def in_processes() -> Callable[..., list[Any]]:
    """`in_processes(count, task)` of `several.py`: what `task(processes)` returns in each of so many processes."""
    return _module("several").in_processes


def _module(name: str) -> Any:
    """A module of helpers beside this file."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


# --- an LLM endpoint --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chat() -> Any:
    """The module `chat_server.py`: `completion` and `error` make responses."""
    return _module("chat_server")


@pytest.fixture
def chat_server(chat: Any) -> Iterator[Callable[[Callable[[str, int], Any]], Any]]:
    """Starts servers on loopback that answer chat completions as they are told."""
    servers: list[Any] = []

    def start(answer: Callable[[str, int], Any]) -> Any:
        servers.append(chat.ChatServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
