"""A reward from what is typed on a command line: a line, and settings as `key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from proxygold.errors import ConfigError
from proxygold.models.encoder import EncoderSettings
from proxygold.rewards.presets import DEFAULT_MAX_NEW_TOKENS
from proxygold.rewards.runtime import OnError, Reward, reward

__all__ = ["RewardOptions", "parse_options", "reward_from_mapping", "reward_from_options"]


class RewardOptions(BaseModel):
    """The settings of `reward()`, by the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: EncoderSettings = EncoderSettings()
    template: str | None = None
    stop_strings: list[str] | None = None
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    on_error: OnError = "nan"
    plugins: list[str] = []


_KEYS = [f"encoder.{field.name}" for field in fields(EncoderSettings)] + [
    name for name in RewardOptions.model_fields if name != "encoder"
]


def reward_from_options(
    line: str, encoder: str | None = None, settings: Sequence[str] = (), plugins: Sequence[Path] = ()
) -> Reward:
    """The reward for a line, the name of an encoder, settings such as `encoder.normalize=false`, and plug-in files.

    Raises ConfigError as `parse_options` does, RewardError for a line that is not allowed.
    """
    return _reward(line, parse_options(encoder, settings, plugins))


def reward_from_mapping(line: str, options: Mapping[str, Any]) -> Reward:
    """The reward for a line and the options of `reward()` as plain values; `encoder` is a name or its settings.

    Raises ConfigError for an option that is unknown or of the wrong type, RewardError for a line that is not allowed.
    """
    encoder = options.get("encoder")
    return _reward(
        line, _validated({**options, "encoder": {"model": encoder} if isinstance(encoder, str) else encoder or {}})
    )


def parse_options(
    encoder: str | None = None, settings: Sequence[str] = (), plugins: Sequence[Path] = ()
) -> RewardOptions:
    """The name of an encoder and settings such as `encoder.normalize=false`, whose values are YAML, as options.

    Raises ConfigError for a setting that is unknown, given twice or of the wrong type.
    """
    given: dict[str, Any] = {} if encoder is None else {"encoder.model": encoder}
    for setting in settings:
        key, value = _parse(setting)
        if key in given:
            raise ConfigError(f"{key} is given twice. Give it once.")
        given[key] = value
    tree: dict[str, Any] = {"encoder": {}}
    for key, value in given.items():
        section, _, name = key.rpartition(".")
        (tree[section] if section else tree)[name] = value
    if plugins:
        if "plugins" in given:
            raise ConfigError("plug-ins are given as --plugin and as plugins=. Give them in one way.")
        tree["plugins"] = [str(plugin) for plugin in plugins]
    return _validated(tree)


def _validated(tree: Mapping[str, Any]) -> RewardOptions:
    try:
        return RewardOptions.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_mistake(item) for item in error.errors())) from error


def _reward(line: str, options: RewardOptions) -> Reward:
    return reward(line, **{name: getattr(options, name) for name in RewardOptions.model_fields})


def _parse(setting: str) -> tuple[str, Any]:
    key, equals, value = setting.partition("=")
    if not equals:
        raise ConfigError(f"{setting!r} is not a setting. Write key=value, such as encoder.normalize=false.")
    if key not in _KEYS:
        close = difflib.get_close_matches(key, _KEYS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ConfigError(f"unknown setting {key!r}.{hint} Allowed: {', '.join(_KEYS)}.")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {setting!r} is not YAML. Put it in quotes: {key}='\"...\"'.") from error


def _mistake(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    return f"{key}={item['input']!r} is not allowed: {item['msg']}."
