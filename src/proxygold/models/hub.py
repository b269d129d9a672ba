"""Where a model's files are: a bundled package, a directory, or the Hugging Face hub."""

from __future__ import annotations

import logging
from pathlib import Path

from proxygold.errors import ModelError
from proxygold.models.bundled import BUNDLED_ENCODER, BUNDLED_POLICY, resolve_model

__all__ = ["find_checkpoint"]

# A model has one of these: modules.json alone, a sentence-transformers model that is no transformer.
_DESCRIPTIONS = ("config.json", "modules.json")


def find_checkpoint(name: str, role: str) -> str:
    """What to give `from_pretrained` for `name`: a directory of a model, or a hub id that exists.

    `role` ("encoder", "policy") is for the message. To ask for one small file first gives a clear error soon:
    the loaders themselves ask the hub for many files, each with its own retries. Raises ModelError.
    """
    resolved = resolve_model(name)
    remedy = f"Give a hub id, a directory, or a bundled model: {BUNDLED_POLICY}, {BUNDLED_ENCODER}."
    directory = Path(resolved).expanduser()
    if directory.is_dir():
        if not any((directory / file).is_file() for file in _DESCRIPTIONS):
            raise ModelError(f"the {role} {name!r} is a directory without a config.json. {remedy}")
        return str(directory)
    if name.startswith((".", "/", "~")):
        raise ModelError(f"the {role} {name!r} is not a directory. {remedy}")

    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)  # it would print each retry
    try:
        try:
            hf_hub_download(name, _DESCRIPTIONS[0])
        except EntryNotFoundError as missing:
            if isinstance(missing, LocalEntryNotFoundError):  # no network: nothing is known of the other file either
                raise
            hf_hub_download(name, _DESCRIPTIONS[1])
    except (OSError, ValueError) as error:
        # A malformed id is a ValueError; a missing repository, a refused one and no network are OSErrors.
        raise ModelError(
            f"the {role} {name!r} is not here and cannot be had from the hub: {error}\n"
            f"Check the name and the network, or download it first: hf download {name}. {remedy}"
        ) from error
    finally:
        hub_logger.setLevel(level)
    return resolved
