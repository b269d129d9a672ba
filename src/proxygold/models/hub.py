"""Where a model's files are: a bundled package, a directory, or the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from proxygold.errors import ModelError
from proxygold.models.bundled import BUNDLED_ENCODER, BUNDLED_POLICY, resolve_model

__all__ = ["find_checkpoint", "is_here"]

# A model has one of these: modules.json alone, a sentence-transformers model that is no transformer.
_DESCRIPTIONS = ("config.json", "modules.json")


def is_here(name: str) -> bool:
    """Whether the model `name` can be read without a download: bundled, a directory, or in the hub's own cache.

    Raises ModelError for a bundled model whose package is not installed.
    """
    if Path(resolve_model(name)).expanduser().is_dir():
        return True

    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return any(isinstance(try_to_load_from_cache(name, file), str) for file in _DESCRIPTIONS)
    except HFValidationError:  # the path of no directory
        return False


def find_checkpoint(name: str, role: str, files: Sequence[str] = _DESCRIPTIONS) -> str:
    """What to give `from_pretrained` for `name`: a directory of a model, or a hub id that exists.

    `role` ("encoder", "policy") is for the message; a model of that role has one of `files`. To ask for one small file
    first gives a clear error soon: the loaders themselves ask the hub for many files, each with its own retries.
    Raises ModelError.
    """
    resolved = resolve_model(name)
    remedy = f"Give a hub id, a directory, or a bundled model: {BUNDLED_POLICY}, {BUNDLED_ENCODER}."
    directory = Path(resolved).expanduser()
    if directory.is_dir():
        if not any((directory / file).is_file() for file in files):
            raise ModelError(
                f"the {role} {name!r} is a directory without {files[0]}. {_below(directory, files) or remedy}"
            )
        return str(directory)
    if name.startswith((".", "/", "~")):
        raise ModelError(f"the {role} {name!r} is not a directory. {remedy}")

    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)  # it would print each retry
    try:
        for file in files:
            try:
                hf_hub_download(name, file)
                break
            except EntryNotFoundError as missing:
                # Without a network nothing is known of the other files either.
                if isinstance(missing, LocalEntryNotFoundError) or file == files[-1]:
                    raise
    except (OSError, ValueError) as error:
        # A malformed id is a ValueError; a missing repository, a refused one and no network are OSErrors.
        raise ModelError(
            f"the {role} {name!r} is not here and cannot be had from the hub: {error}\n"
            f"Check the name and the network, or download it first: hf download {name}. {remedy}"
        ) from error
    finally:
        hub_logger.setLevel(level)
    return resolved


def _below(directory: Path, files: Sequence[str]) -> str:
    """The directories of models somewhere below, as what to give in its place: of a run, its checkpoints."""
    depths = ["/".join(["*"] * depth) for depth in range(1, 5)]
    found = sorted({path.parent for depth in depths for file in files for path in directory.glob(f"{depth}/{file}")})
    if not found:
        return ""
    more = f"\n  and {len(found) - 10} more" if len(found) > 10 else ""
    return "Give one of those below it:" + "".join(f"\n  {path}" for path in found[:10]) + more
