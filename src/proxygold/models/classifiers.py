"""Sequence classifiers with one output, as files and as modules: what a reward model is made of."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from proxygold.errors import ModelError
from proxygold.models.bundled import resolve_model
from proxygold.models.quiet import quiet_loading

__all__ = ["Float32Head", "adapter_base", "first_line", "load_classifier", "load_reward_tokenizer", "new_classifier"]

CHAT_TEMPLATE_FILE = "chat_template.jinja"


class Float32Head(nn.Linear):
    """A linear head that computes in float32 whatever the trunk's dtype, inside autocast too.

    A score in bfloat16 has three significant digits, and a head trained in bfloat16 loses its small updates
    to rounding.
    """

    @classmethod
    def of(cls, head: nn.Linear) -> Float32Head:
        """A float32 copy of `head`."""
        new = cls(head.in_features, head.out_features, bias=head.bias is not None, device=head.weight.device)
        new.load_state_dict(head.state_dict())
        return new

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(…, hidden) of any dtype to (…, outputs) float32."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def new_classifier(base: str, dtype: torch.dtype) -> Any:
    """`base`, a decoder-only language model, with a new head of one output that is all zeros.

    From zero every answer starts with the same score, and the first loss is exactly log 2. Raises ModelError.
    """
    model, _ = _load(base, dtype, base)
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise ModelError(
            f"{base!r} ({type(model).__name__}) has no linear head called score. "
            "Start from a decoder-only language model, such as smollm2-135m-instruct."
        )
    model.score = Float32Head.of(head)
    nn.init.zeros_(model.score.weight)
    return model


def load_classifier(
    path: str, name: str, dtype: torch.dtype, renamed: Mapping[str, str] | None = None, **options: Any
) -> Any:
    """The classifier in the directory or hub repository `path`; an adapter is merged into its base model.

    `renamed`: the names of its tensors, as patterns, with what a classifier calls them (`value_heads.py`);
    `options` go to transformers' from_pretrained. Raises ModelError when it cannot be read, has no trained head, or
    more than one output.
    """
    base = adapter_base(path)
    if base is None:
        model, missing = _load(path, dtype, name, renamed, **options)
        if missing:
            raise ModelError(
                f"{name!r} is not a reward model: its checkpoint has no {', '.join(sorted(missing))}. "
                "Give a sequence-classification model with one output, or train one: proxygold train reward-model."
            )
    else:
        # Merged in float32: in bfloat16 most of a small update would be rounded away.
        model, missing = _load(resolve_model(base), torch.float32, base)
        model = _merge_adapter(model, path, name, needs_head=bool(missing))
    outputs = int(model.config.num_labels)
    if outputs != 1:
        raise ModelError(
            f"{name!r} has {outputs} outputs; a reward model has one. Choose a reward model, not a classifier."
        )
    head = Float32Head.of(model.score) if isinstance(getattr(model, "score", None), nn.Linear) else None
    model.to(dtype)
    if head is not None:
        model.score = head  # put back after the trunk's rounding, which is not for it
    return model.eval()


def load_reward_tokenizer(path: str, name: str) -> Any:
    """The tokenizer of a reward model, else its base model's; with an adapter's own chat template."""
    from transformers import AutoTokenizer

    base = adapter_base(path)
    has_own = base is None or (Path(path) / "tokenizer_config.json").is_file()
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(path if has_own or base is None else resolve_model(base))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"the tokenizer of {name!r} cannot be loaded: {first_line(error)}") from error
    template = Path(path) / CHAT_TEMPLATE_FILE
    if template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    return tokenizer


def adapter_base(path: str) -> str | None:
    """The model that the PEFT adapter in `path` adapts, None when `path` is a whole model. Raises ModelError."""
    from transformers.utils.peft_utils import find_adapter_config_file

    try:
        found = find_adapter_config_file(path)
    except (OSError, ValueError):
        return None  # no such repository, or no network: loading it says so in full
    if found is None:
        return None
    base = json.loads(Path(found).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelError(f"the adapter {path!r} does not say what it adapts (base_model_name_or_path is empty).")
    return str(base)


def _load(
    path: str, dtype: torch.dtype, name: str, renamed: Mapping[str, str] | None = None, **options: Any
) -> tuple[Any, set[str]]:
    """The model, and the names of the weights that its checkpoint does not have."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        with quiet_loading():
            config = AutoConfig.from_pretrained(path)
            # A model that was never a classifier has the two labels that transformers gives by default.
            labels = {} if _is_classifier(config) and renamed is None else {"num_labels": 1}
            model, report = AutoModelForSequenceClassification.from_pretrained(
                path, dtype=dtype, output_loading_info=True, key_mapping=renamed, **labels, **options
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"cannot load {name!r} as a reward model: {first_line(error)}\n"
            "Give gold-mini, the hub id or the directory of a sequence-classification model, or an adapter's directory."
        ) from error
    return model, set(report["missing_keys"])


def _is_classifier(config: Any) -> bool:
    return any("SequenceClassification" in name for name in config.architectures or ())


def _merge_adapter(model: Any, path: str, name: str, *, needs_head: bool) -> Any:
    try:
        from peft import PeftModel
        from peft.utils import load_peft_weights
        from safetensors import SafetensorError
    except ImportError as error:
        raise ModelError(
            f"{name!r} is an adapter and needs {error.name}. Run: pip install 'proxygold[train]'"
        ) from error
    try:
        with quiet_loading(), warnings.catch_warnings():
            # PEFT reads a setting of transformers by its old name.
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
            saved: Mapping[str, torch.Tensor] = load_peft_weights(path, device="cpu")
            adapted = PeftModel.from_pretrained(model, path)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the adapter of {name!r} cannot be loaded: {first_line(error)}") from error
    if needs_head and not any(".score." in key or ".classifier" in key for key in saved):
        raise ModelError(
            f"the adapter {name!r} has no trained head, so it is not a reward model's. "
            'Train it with modules_to_save=["score"], or with `proxygold train reward-model`.'
        )
    return adapted.merge_and_unload()


def first_line(error: Exception) -> str:
    """The first line of what an error says, else its kind: libraries go on for pages."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
