"""Loading a causal language model: bundled, from a directory or from the hub, whole or as an adapter to be merged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from proxygold.errors import ConfigError, ModelError
from proxygold.models.bundled import resolve_model

__all__ = ["decoder_layers", "load_causal_lm", "pick_device", "pick_dtype"]


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


def load_causal_lm(name: str, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    """The model in `dtype` on `device`, and its tokenizer. An adapter is merged into its base model.

    Raises ModelError when something cannot be read, or when the logits are not a linear map of the last hidden
    states.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = resolve_model(name)
    if not Path(path).exists() and (Path(path).is_absolute() or path.startswith(("./", "../", "~"))):
        raise ModelError(
            f"cannot load {name!r} as a causal language model: there is no such directory. Give the directory of a "
            "model with its tokenizer, a hub id, or a bundled name (smollm2-135m-instruct)."
        )
    adapter = _adapter_base(path)
    try:
        with _without_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                # Merged in float32: in bfloat16 most of a small update would be rounded away.
                resolve_model(adapter) if adapter else path,
                dtype=torch.float32 if adapter else dtype,
            )
        if adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, path).merge_and_unload().to(dtype)
        tokenizer = AutoTokenizer.from_pretrained(_tokenizer_source(path, adapter))
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"cannot load {name!r} as a causal language model: {_first_line(error)}\n"
            "Give a bundled name (smollm2-135m-instruct), the directory of a model with its tokenizer, or a hub id."
        ) from error
    model.to(device)
    model.eval()
    _check_projection(name, model)
    return model, tokenizer


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    # transformers draws one for every load, on a terminal or not; a study loads many times.
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _adapter_base(path: str) -> str | None:
    """The base model of a PEFT adapter, None when `path` is a whole model."""
    from transformers.utils.peft_utils import find_adapter_config_file

    local = Path(path)
    if local.is_dir():
        if not (local / "adapter_config.json").exists():
            return None
    else:
        try:
            if find_adapter_config_file(path) is None:
                return None
        except OSError:
            return None  # no such repository, or no network: loading it says so in full
    from peft import PeftConfig

    base: str | None = PeftConfig.from_pretrained(path).base_model_name_or_path
    if not base:
        raise ModelError(f"the adapter {path!r} does not say what it adapts (base_model_name_or_path is empty).")
    return base


def _tokenizer_source(path: str, adapter_base: str | None) -> str:
    own = Path(path)
    if adapter_base and own.is_dir() and not (own / "tokenizer_config.json").exists():
        return resolve_model(adapter_base)
    return path


def decoder_layers(model: Any) -> nn.ModuleList:
    """The list of decoder layers, bottom first. Raises ModelError when the model has none of the usual form."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(
        f"{type(model).__name__} has no list of {count} decoder layers; use another causal language model."
    )


@torch.no_grad()
def _check_projection(name: str, model: Any) -> None:
    """Logits are computed for response tokens only, by applying the output layer to the trunk's hidden states.

    Some models do more in between (caps, scales). Better to say so here than to train on other probabilities.
    """
    ids = torch.arange(4, device=model.device)[None, :]
    head = model.get_output_embeddings()
    same = head is not None and torch.allclose(
        model(input_ids=ids).logits.float(),
        head(model.base_model(input_ids=ids).last_hidden_state).float(),
        rtol=1e-2,
        atol=1e-2,
    )
    if not same:
        raise ModelError(
            f"the logits of {name!r} ({type(model).__name__}) are not its output layer applied to its last hidden "
            "states; such models (capped or scaled logits) are not supported. Use another causal language model."
        )
