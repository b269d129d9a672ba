"""What `validate` and `rollout` make of what was typed: the settings in DIR, if any, with the options put over them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from proxygold.errors import ConfigError
from proxygold.store import RunDirectory
from proxygold.study.checkpoint_files import find_checkpoints, shared_base
from proxygold.study.checkpoint_settings import PROXY, CheckpointStudy
from proxygold.study.loading import parse_settings
from proxygold.study.validation import written_settings

__all__ = ["checkpoint_study"]

_NEEDED = {
    "checkpoints": "--checkpoints GLOB, such as 'out/checkpoint-*'",
    "prompts": "--prompts DATA, the prompts to answer",
    "reward": "--reward LINE, the reward that the policy was trained on",
    "gold": "--gold MODEL, or --gold-later",
}


def checkpoint_study(
    out: Path,
    overrides: Sequence[str],
    *,
    checkpoints: Sequence[str] | None,
    start: str | None,
    prompts: str | None,
    template: str | None,
    reward: str | None = None,
    gold: str | None = None,
    encoder: str | None = None,
    plugins: Sequence[Path] | None = None,
    needs: Collection[str] = (),
) -> tuple[CheckpointStudy, RunDirectory]:
    """The settings that were asked for, checked, and the directory for them.

    Raises ConfigError for what is missing or wrong, StoreError for a directory of another kind, DataError as
    `find_checkpoints` does.
    """
    run = RunDirectory(out)
    raw = written_settings(run) if run.exists() else {"name": out.resolve().name}
    given: dict[tuple[str, ...], Any] = {
        ("checkpoints",): list(checkpoints or ()) or None,
        ("policy", "model"): start,
        ("policy", "prompt_template"): template,
        ("data", "validation"): prompts,
        ("rewards", PROXY): reward,
        ("gold", "model"): gold,
        ("encoder", "model"): encoder,
        ("plugins",): [str(path) for path in plugins] if plugins else None,
    }
    for place, value in given.items():
        if value is not None:
            _put(raw, place, value)
    places = {"checkpoints": ("checkpoints",), "prompts": ("data", "validation"), "reward": ("rewards", PROXY)}
    lacking = [name for name, place in places.items() if (name in needs or name != "reward") and not _get(raw, place)]
    if "gold" in needs and not (raw.get("gold") or any(text.startswith("gold.") for text in overrides)):
        lacking.append("gold")
    if "checkpoints" in needs and not checkpoints:
        lacking = ["checkpoints", *(name for name in lacking if name != "checkpoints")]
    if lacking:
        raise ConfigError(f"missing: {'; '.join(_NEEDED[name] for name in lacking)}.")
    if not _get(raw, ("policy", "model")):
        _put(raw, ("policy", "model"), _start(raw["checkpoints"]))
    return parse_settings(CheckpointStudy, yaml.safe_dump(raw), overrides, source="the settings"), run


def _start(patterns: Sequence[str]) -> str:
    """The model that training began from, where the checkpoints say it."""
    found = find_checkpoints(patterns)
    first = found[0].get(0) or shared_base([path for steps in found for path in steps.values()])
    if first is None:
        raise ConfigError(
            "the checkpoints do not say which model training began from, and gains are measured from its answers. "
            "Give it: --start MODEL."
        )
    return first


def _get(raw: Mapping[str, Any], place: Sequence[str]) -> Any:
    value: Any = raw
    for name in place:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _put(raw: dict[str, Any], place: Sequence[str], value: Any) -> None:
    *parents, last = place
    for name in parents:
        raw[name] = inner = dict(raw.get(name) or {})
        raw = inner
    raw[last] = value
