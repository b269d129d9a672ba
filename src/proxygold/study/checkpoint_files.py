"""Checkpoints that some trainer wrote, found by patterns, each with the step that its path names."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Sequence
from pathlib import Path

from proxygold.errors import DataError

__all__ = ["find_checkpoints", "shared_base", "step_of"]

# As trainers name them: transformers and TRL checkpoint-500, proxygold step-500, verl global_step_500 (with
# actor/huggingface below it), OpenRLHF global_step500_hf.
_NAMED = re.compile(r"(?:^|[^a-z])(?:checkpoint|ckpt|step|iter|iteration)s?[-_]?(\d+)(?!\d)", re.IGNORECASE)


def find_checkpoints(patterns: Sequence[str]) -> list[dict[int, str]]:
    """The checkpoints of each pattern, one training run each, as {step: directory}, ascending.

    A pattern is as the shell has them, `**` included; `500=PATH` gives a step to one directory whose path names none,
    and one or more of these, separated by commas, may stand in place of a pattern. Raises DataError when nothing fits,
    when a path names no step, or when two name the same.
    """
    return [_find(pattern) for pattern in patterns]


def _find(pattern: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for part in pattern.split(",") if re.match(r"\d+=", pattern) else [pattern]:
        named = re.fullmatch(r"(\d+)=(.+)", part)
        if named is not None:
            if not _is_model(named[2]):
                raise DataError(f"{named[2]} has no config.json or adapter_config.json: it is no model and no adapter.")
            _add(found, int(named[1]), named[2])
            continue
        fits = sorted(glob.glob(str(Path(part).expanduser()), recursive=True))
        directories = [path for path in fits if _is_model(path)]
        if not directories:
            what = f"only such as {fits[0]}, which has no config.json or adapter_config.json" if fits else "nothing"
            raise DataError(
                f"the pattern {part} fits {what}. Give directories of models or adapters, such as 'out/checkpoint-*', "
                "in quotes; verl's are 'DIR/global_step_*/actor/huggingface'."
            )
        for directory in directories:
            _add(found, step_of(directory), directory)
    return dict(sorted(found.items()))


def _add(found: dict[int, str], step: int, directory: str) -> None:
    if step in found:
        raise DataError(
            f"{found[step]} and {directory} both are step {step}. A pattern stands for one training run: narrow it, or "
            "give --checkpoints once for each run."
        )
    found[step] = directory


def _is_model(path: str) -> bool:
    return any((Path(path) / name).is_file() for name in ("config.json", "adapter_config.json"))


def step_of(directory: str) -> int:
    """The step that a path names: the last number after a word for it, else the number at the end of its last name.

    >>> step_of("out/checkpoint-500"), step_of("lr-1e-5/global_step_20/actor/huggingface"), step_of("runs/7b/120")
    (500, 20, 120)
    """
    for part in reversed(Path(directory).parts):
        named = _NAMED.findall(part)
        if named:
            return int(named[-1])
    last = re.search(r"(\d+)$", Path(directory).name)
    if last is None:
        raise DataError(
            f"{directory} does not say which step it is. Name it so, as in checkpoint-500, or give the step: "
            f"--checkpoints 500={directory}"
        )
    return int(last[1])


def shared_base(directories: Sequence[str]) -> str | None:
    """The model that all of these adapters were made for; None when one is no adapter, or they have different ones.

    Raises DataError for an adapter whose configuration cannot be read.
    """
    bases = set()
    for directory in directories:
        file = Path(directory) / "adapter_config.json"
        if not file.is_file():
            return None
        try:
            bases.add(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} cannot be read ({type(error).__name__}: {error}). Put it back.") from error
    return str(bases.pop()) if len(bases) == 1 and None not in bases else None
