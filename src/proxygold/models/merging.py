"""A trained adapter and its base model as one model directory, which any program loads that loads a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from proxygold.errors import ConfigError, ModelError, StoreError
from proxygold.models.bundled import resolve_model
from proxygold.models.causal_lm import load_causal_lm, load_tokenizer
from proxygold.models.classifiers import adapter_base, load_classifier, load_reward_tokenizer
from proxygold.models.hub import find_checkpoint
from proxygold.models.quiet import quiet_loading
from proxygold.store import to_json, whole_directory, write_whole

__all__ = ["ADAPTER_FILE", "MergedModel", "WeightsDtype", "merge_adapter"]

ADAPTER_FILE = "adapter_config.json"

WeightsDtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class MergedModel:
    """A merged model: of `parameters` weights in `dtype`. `kind`: a `language model` or a `reward model`."""

    directory: Path
    base: str
    kind: str
    parameters: int
    dtype: str


def merge_adapter(adapter: str, out: Path, *, dtype: WeightsDtype = "auto", overwrite: bool = False) -> MergedModel:
    """Write the model that the adapter (a directory or a hub id) makes of its base model to the directory `out`.

    The two are added in float32 and stored in `dtype`; `auto` is the base model's. The tokenizer goes along. A value
    head that training had beside the adapter does not: it is no part of the model.

    Raises ConfigError when there is no adapter, ModelError when adapter or base cannot be read, StoreError when `out`
    is taken or cannot be written.
    """
    directory = Path(resolve_model(adapter)).expanduser()
    if (directory / "config.json").is_file() and not (directory / ADAPTER_FILE).is_file():
        raise ConfigError(
            f"{adapter!r} is a whole model, which needs no merging. Give an adapter, such as "
            "runs/NAME/REWARD/seed-0/checkpoints/step-N."
        )
    path = find_checkpoint(adapter, "adapter", [ADAPTER_FILE])
    base = adapter_base(path)
    if base is None:
        raise ModelError(f"the {ADAPTER_FILE} of {adapter!r} cannot be read. Take another checkpoint.")
    if out.exists() and not overwrite and not (out.is_dir() and not any(out.iterdir())):
        raise StoreError(f"{out} exists. Give another --out, or write over it with --force.")
    model, tokenizer, kind = _load(path, adapter)
    broken = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelError(
            f"merged with {adapter!r}, {broken[0]} has weights that are not finite. Take another checkpoint."
        )
    stored = _stored_dtype(dtype, base)
    name = str(stored).removeprefix("torch.")
    with whole_directory(out) as new, quiet_loading():
        model.to(stored).save_pretrained(new)
        tokenizer.save_pretrained(new)
        write_whole(new / "merged.json", to_json({"adapter": adapter, "base": base, "dtype": name}) + "\n")
    return MergedModel(out, base, kind, sum(parameter.numel() for parameter in model.parameters()), name)


def _load(path: str, name: str) -> tuple[Any, Any, str]:
    """The merged model in float32, its tokenizer, and what it is."""
    from transformers.utils.peft_utils import find_adapter_config_file

    settings = json.loads(Path(str(find_adapter_config_file(path))).read_text(encoding="utf-8"))
    if settings.get("task_type") == "SEQ_CLS":
        return load_classifier(path, name, torch.float32), load_reward_tokenizer(path, name), "reward model"
    return load_causal_lm(path, torch.float32, torch.device("cpu")), load_tokenizer(path), "language model"


def _stored_dtype(dtype: WeightsDtype, base: str) -> torch.dtype:
    if dtype != "auto":
        stored: torch.dtype = getattr(torch, dtype)
        return stored
    from transformers import AutoConfig

    while (below := adapter_base(resolve_model(base))) is not None:  # an adapter on top of an adapter
        base = below
    published = AutoConfig.from_pretrained(resolve_model(base)).dtype
    return published if isinstance(published, torch.dtype) else torch.float32
