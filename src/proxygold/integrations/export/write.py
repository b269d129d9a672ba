"""Writing an export: a directory that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from proxygold.errors import ConfigError, StoreError
from proxygold.features.registry import nearest
from proxygold.integrations.export.openrlhf import openrlhf_files
from proxygold.integrations.export.spec import ExportSpec
from proxygold.integrations.export.trl import trl_files
from proxygold.integrations.export.verifiers import verifiers_files
from proxygold.integrations.export.verl import verl_files
from proxygold.store import whole_directory

__all__ = ["TRAINERS", "write_export"]

TRAINERS: Mapping[str, Callable[[ExportSpec], Mapping[str, str | bytes]]] = MappingProxyType(
    {"trl": trl_files, "verl": verl_files, "openrlhf": openrlhf_files, "verifiers": verifiers_files}
)


def write_export(trainer: str, spec: ExportSpec, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Write what `trainer` needs into the directory `out`; returns the files.

    Raises ConfigError for an unknown trainer, StoreError when `out` exists and `overwrite` is false or it cannot be
    written.
    """
    if trainer not in TRAINERS:
        raise ConfigError(f"--to {trainer} is not known.{nearest(trainer, TRAINERS)} Allowed: {', '.join(TRAINERS)}.")
    if out.exists() and not overwrite:
        raise StoreError(f"{out} exists already. Give another directory, or --force to write over it.")
    files = TRAINERS[trainer](spec)
    with whole_directory(out) as directory:
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
            if path.suffix == ".sh":
                path.chmod(0o755)
    return [out / name for name in files]
