"""Loading a causal language model: bundled, from a directory or from the hub, whole or as an adapter to be merged."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from proxygold.errors import ConfigError, ModelError
from proxygold.models.bundled import resolve_model
from proxygold.models.classifiers import adapter_base, first_line
from proxygold.models.policy_settings import Quantization
from proxygold.models.quantization import check_quantization, quantization_config
from proxygold.models.quiet import quiet_loading

__all__ = [
    "attends_to_all",
    "decoder_layers",
    "eos_token_ids",
    "load_causal_lm",
    "load_config",
    "load_tokenizer",
    "pick_device",
    "pick_dtype",
]


def pick_device(name: str) -> torch.device:
    """The torch device called `name`; `auto` is the first accelerator, else the CPU. Raises ConfigError."""
    if name != "auto":
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {name!r} cannot be used here ({error}). Use 'auto' or 'cpu'.") from error
        return device
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`float32`, `bfloat16`, or for `auto`: bfloat16 where the device multiplies it natively, else float32."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        # Emulated bfloat16 is slower than float32. Natively it is 2 to 4 times faster: on two cores of an AMD
        # EPYC with avx512_bf16, 455 against 110 GFLOP/s on a core. torch before 2.9 cannot tell, and gets
        # float32.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        native = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def load_causal_lm(
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    quantization: Quantization = "none",
    *,
    base: str | None = None,
) -> Any:
    """The model in `dtype` on `device`, its linear layers quantised if so asked. An adapter is merged into its base:
    `base`, where that is given, in place of the one that it names.

    Raises ModelError when it cannot be read, ConfigError when an adapter is to be quantised.
    """
    from transformers import AutoModelForCausalLM

    with _reading(name) as (path, named):
        if base is not None and named is None:
            raise ModelError(f"{name!r} is no adapter, so it cannot be put on {base!r}. Give it as a model of its own.")
        base = base or named
        if quantization != "none":
            check_quantization(name, base, quantization)
            with quiet_loading():
                return AutoModelForCausalLM.from_pretrained(
                    path,
                    dtype=dtype,
                    device_map={"": device},  # a quantised model cannot be moved afterwards
                    quantization_config=quantization_config(quantization, dtype),
                ).eval()
        if base:
            from peft import PeftModel

            # Merged in float32: in bfloat16 most of a small update would be rounded away. The base can be an adapter
            # itself: what PPO trained on top of an SFT adapter is.
            model = load_causal_lm(base, torch.float32, torch.device("cpu"))
            with quiet_loading(), warnings.catch_warnings():
                # PEFT reads a setting of transformers by its old name.
                warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
                model = PeftModel.from_pretrained(model, path).merge_and_unload().to(dtype)
        else:
            with quiet_loading():
                model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    model.to(device)
    model.eval()
    return model


def load_tokenizer(name: str) -> Any:
    """The tokenizer of the model `name`: an adapter's own, or its base model's. Raises ModelError."""
    from transformers import AutoTokenizer

    with _reading(name) as (path, base):
        own = Path(path)
        if base and own.is_dir() and not (own / "tokenizer_config.json").exists():
            return load_tokenizer(base)
        return AutoTokenizer.from_pretrained(path)


def load_config(name: str) -> Any:
    """The configuration of the model `name`, for an adapter its base model's. Raises ModelError."""
    from transformers import AutoConfig

    with _reading(name) as (path, base):
        return load_config(base) if base else AutoConfig.from_pretrained(path)


@contextmanager
def _reading(name: str) -> Iterator[tuple[str, str | None]]:
    """Where `name` is, and for an adapter the name of its base; inside, what cannot be read is a ModelError."""
    from safetensors import SafetensorError

    path = str(Path(name).expanduser()) if name.startswith("~") else resolve_model(name)
    if not Path(path).exists() and (Path(path).is_absolute() or path.startswith(("./", "../"))):
        raise ModelError(
            f"cannot load {name!r} as a causal language model: there is no such directory. Give the directory of a "
            "model with its tokenizer, a hub id, or a bundled name (smollm2-135m-instruct)."
        )
    base = adapter_base(path)
    try:
        yield path, base
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"cannot load {name!r} as a causal language model: {first_line(error)}\n"
            "Give a bundled name (smollm2-135m-instruct), the directory of a model with its tokenizer, or a hub id."
        ) from error


def eos_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a completion: the model's generation settings' and the tokenizer's. Raises ModelError."""
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = {declared} if isinstance(declared, int) else set(declared or ())
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    if not ids:
        raise ModelError(
            "the model has no end-of-sequence token, in its generation settings or its tokenizer, so a completion "
            "could never end. Set eos_token_id in generation_config.json."
        )
    return frozenset(ids)


def decoder_layers(model: Any) -> nn.ModuleList:
    """The list of decoder layers, bottom first. Raises ModelError when the model has none of the usual form."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(
        f"{type(model).__name__} has no list of {count} decoder layers; use another causal language model."
    )


def attends_to_all(config: Any) -> bool:
    """Whether every layer of a model attends to all tokens before: no sliding window, no other kind of layer."""
    text = config.get_text_config()
    layer_types = getattr(text, "layer_types", None) or ["full_attention"]
    windowed = getattr(text, "sliding_window", None) is not None and getattr(text, "layer_types", None) is None
    return not windowed and set(layer_types) == {"full_attention"}
