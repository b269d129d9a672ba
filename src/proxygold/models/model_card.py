"""What a model's card says that it was trained on: the list `datasets` at the head of its README.md.

The form is the hub's (https://huggingface.co/docs/hub/model-cards): YAML between two lines of dashes.
"""

from __future__ import annotations

import logging
from pathlib import Path

import yaml

__all__ = ["stated_datasets"]

_CARD = "README.md"


def stated_datasets(checkpoint: str) -> tuple[str, ...] | None:
    """The ids of the data sets that the card of a directory or hub id names; None where there is no card or no name.

    A card that cannot be had from the hub is none: it only informs, and what needs the model itself will complain.
    """
    directory = Path(checkpoint).expanduser()
    card = directory / _CARD if directory.is_dir() else _from_hub(checkpoint)
    if card is None or not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in (rest := [line.strip() for line in lines[1:]]):
        return None
    try:
        head = yaml.safe_load("\n".join(lines[1 : 1 + rest.index("---")]))
    except yaml.YAMLError:
        return None
    named = head.get("datasets") if isinstance(head, dict) else None
    if isinstance(named, str):
        named = [named]
    return tuple(str(name) for name in named) if isinstance(named, list) and named else None


def _from_hub(name: str) -> Path | None:
    from huggingface_hub import hf_hub_download

    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    hub_logger.setLevel(logging.ERROR)  # it would print each retry
    try:
        return Path(hf_hub_download(name, _CARD))
    except (OSError, ValueError):  # no network, no such repository, no card in it; no hub id
        return None
    finally:
        hub_logger.setLevel(level)
