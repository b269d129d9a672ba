"""A study that takes a second: a policy and a gold model of sixteen tokens, saved as any model is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml


def rows(split: str, count: int) -> list[dict[str, str]]:
    """`count` prompts, different in each split."""
    first = {"train": 1, "validation": 5, "dev": 9}[split]
    types = ("open_ended", "closed_ended")
    return [{"id": f"{split[0]}{i}", "prompt": f"w{first} w{i + 1}", "query_type": types[i % 2]} for i in range(count)]


@pytest.fixture(scope="session")
def word_models(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama: Callable[..., Any], word_tokenizer: Any
) -> tuple[Path, Path]:
    """The directories of a policy and of a gold model. Their tokenizer has no chat template."""
    from transformers import LlamaForSequenceClassification

    policy, gold = (tmp_path_factory.mktemp(name) for name in ("words", "gold"))
    model = tiny_llama(layers=2)
    model.save_pretrained(policy)
    model.config.num_labels = 1
    torch.manual_seed(1)
    LlamaForSequenceClassification(model.config).save_pretrained(gold)
    for directory in (policy, gold):
        word_tokenizer.save_pretrained(directory)
    return policy, gold


@pytest.fixture(scope="session")
def word_study_in(word_models: tuple[Path, Path]) -> Callable[[Path], Path]:
    """Writes a study file of one reward and two steps, validated at each; `dev.jsonl` lies beside it, not used."""

    def write(directory: Path) -> Path:
        for split, count in (("train", 4), ("validation", 4), ("dev", 3)):
            lines = "".join(json.dumps(row) + "\n" for row in rows(split, count))
            (directory / f"{split}.jsonl").write_text(lines)
        policy, gold = map(str, word_models)
        study = {
            "name": "words",
            "policy": {"model": policy, "prompt_template": "none", "dtype": "float32", "lora": {"r": 2, "alpha": 4}},
            "data": {split: str(directory / f"{split}.jsonl") for split in ("train", "validation")},
            "rewards": {"LI": "LI"},
            "gold": {"model": gold, "dtype": "float32"},
            "training": {"steps": 2, "batch_size": 4, "ppo_epochs": 1, "learning_rate": 0.05, "max_new_tokens": 8},
            "validation": {"every": 1, "max_new_tokens": 8, "batch_size": 4},
            "analysis": {"draws": 200},
            "seeds": [0],
        }
        path = directory / "study.yaml"
        path.write_text(yaml.safe_dump(study))
        return path

    return write


@pytest.fixture
def word_study(tmp_path: Path, word_study_in: Callable[[Path], Path]) -> Path:
    """The study file, in a directory of the test's own."""
    return word_study_in(tmp_path)
