"""The names of the tensors in a checkpoint, read without its weights: they tell what the model is."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

from proxygold.errors import ModelError

__all__ = ["tensor_names"]

_SAFETENSORS, _PICKLED = "model.safetensors", "pytorch_model.bin"


def tensor_names(path: str, name: str) -> frozenset[str]:
    """The names in the checkpoint of a directory or a hub repository; none where it has no file of a known name.

    Of a repository only an index is fetched, or the one file that holds everything, which loading needs anyway. `name`
    is the model's, for messages. Raises ModelError when what is there cannot be read.
    """
    from safetensors import SafetensorError

    try:
        # The indexes first: they are small, and say the same as the files beside them.
        for whole in (_SAFETENSORS, _PICKLED):
            if (file := _found(path, f"{whole}.index.json")) is not None:
                return frozenset(json.loads(Path(file).read_text(encoding="utf-8"))["weight_map"])
        if (file := _found(path, _SAFETENSORS)) is not None:
            from safetensors import safe_open

            with safe_open(file, framework="pt") as tensors:
                return frozenset(tensors.keys())
        if (file := _found(path, _PICKLED)) is not None:
            import torch

            return frozenset(torch.load(file, map_location="meta", mmap=True, weights_only=True))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise ModelError(f"cannot load {name!r} as a reward model, its checkpoint cannot be read: {error}") from error
    return frozenset()


def _found(path: str, name: str) -> str | None:
    from transformers.utils import cached_file

    found: str | None = cached_file(
        path,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return found
