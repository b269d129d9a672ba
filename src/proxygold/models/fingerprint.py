"""Whether a model is still the one that it was: told from its files, without loading them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from proxygold.models.bundled import resolve_model

__all__ = ["checkpoint_fingerprint"]

_SAMPLE = 1 << 16
_SAMPLES = 64


def checkpoint_fingerprint(model: str) -> str:
    """Hex SHA-256 that changes with the files of a model: told in a moment for 70 GB, without loading them.

    `model` is a bundled name, a directory, or a hub id. A directory's files are read whole up to 4 MiB; of larger ones
    the length and 64 samples of 64 KiB, so that retrained weights differ, though not every flipped bit does. A hub id
    stands for the commit that is in the local cache, and for its name alone when none is.
    """
    directory = Path(resolve_model(model)).expanduser()
    digest = hashlib.sha256()
    if not directory.is_dir():
        digest.update(f"{model} {_cached_commit(model)}".encode())
        return digest.hexdigest()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        name = path.relative_to(directory).as_posix()
        if any(part.startswith(".") for part in Path(name).parts):
            continue  # what a download or a version control tool keeps beside a model
        digest.update(f"{name} {path.stat().st_size}".encode())
        _add_samples(digest, path)
    return digest.hexdigest()


def _add_samples(digest: hashlib._Hash, path: Path) -> None:
    last = path.stat().st_size - _SAMPLE
    with path.open("rb") as file:
        if last <= _SAMPLE * (_SAMPLES - 1):
            digest.update(file.read())
            return
        for sample in range(_SAMPLES):
            file.seek(last * sample // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))


def _cached_commit(model: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in ("config.json", "adapter_config.json", "modules.json"):
        try:
            found = try_to_load_from_cache(model, name)
        except HFValidationError:
            return None
        if isinstance(found, str):
            return Path(found).parent.name  # …/snapshots/COMMIT/config.json
    return None
