"""Parameters of an LLM endpoint, as KEY=VALUE on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from proxygold.errors import ConfigError

__all__ = ["read_parameters"]


def read_parameters(given: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent to the endpoint: `defaults`, with what was `given` over them. A null leaves one out.

    max_completion_tokens takes the place of a default max_tokens. Raises ConfigError for what is no KEY=VALUE.

    >>> read_parameters(["max_completion_tokens=900", "temperature=null"], {"temperature": 0, "max_tokens": 16})
    {'max_completion_tokens': 900}
    """
    chosen: dict[str, Any] = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not key.strip() or not equals:
            raise ConfigError(f"{setting!r} is no setting. Write KEY=VALUE, such as max_completion_tokens=2000.")
        try:
            chosen[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of {setting!r} cannot be read as YAML: {error}") from error
    if chosen.get("max_completion_tokens") is not None:
        defaults = {key: value for key, value in defaults.items() if key != "max_tokens"}
    return {key: value for key, value in {**defaults, **chosen}.items() if value is not None}
