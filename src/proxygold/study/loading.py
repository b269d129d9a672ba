"""From a study file and `key=value` overrides to a checked `Study`; each mistake names what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from proxygold.errors import ConfigError
from proxygold.study.config import Study

__all__ = ["load_study", "parse_study"]


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML says that a key may occur once, PyYAML takes the last one in silence; here it is an error."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # PyYAML calls this before it reads a mapping, and writes the keys of a merge (`<<: *other`) into the node: only
        # at the first call does it hold what stands in the file.
        if id(node) not in self._checked:
            self._checked.add(id(node))
            self._check_keys(node)
        super().flatten_mapping(node)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                kind = "list" if isinstance(key, yaml.SequenceNode) else "mapping"
                raise ConfigError(f"line {line}: a {kind} stands where a key is wanted. Write key: value.")
            if (key.tag, key.value) in seen:
                raise ConfigError(f"line {line}: the key {key.value!r} occurs twice. Keep one of them.")
            seen.add((key.tag, key.value))


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study file, put `key=value` overrides over it, and check it.

    Raises ConfigError for a file that is missing, empty or no YAML, and for every unknown key or bad value in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no study file {path}. Give the path of a YAML file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the study file {path}: {error}") from error
    return parse_study(text, overrides, source=str(path))


def parse_study(text: str, overrides: Sequence[str] = (), source: str = "study") -> Study:
    """As `load_study`, from the file's text; `source` names it in errors."""
    try:
        raw = yaml.load(text, Loader=_UniqueKeyLoader)
    except ConfigError as error:
        raise ConfigError(f"{source}, {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{source} must be a mapping with the keys {', '.join(Study.model_fields)}; it holds "
            f"{'nothing' if raw is None else f'a {type(raw).__name__}'}."
        )
    for override in overrides:
        _apply(raw, override)
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}:\n" + "\n".join(f"  {line}" for line in _explain(error))) from error


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r} is not an override. Write key=value, such as training.steps=1000.")
    try:
        parsed = yaml.load(value, Loader=_UniqueKeyLoader)
    except ConfigError as error:
        raise ConfigError(f"the value of {override!r}, {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {override!r} is not YAML: {error}") from error
    *parents, last = key.split(".")
    place = raw
    for name in parents:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{override!r}: {name!r} is a plain value, so nothing can be set inside it.")
        place = inner
    place[last] = parsed


def _explain(error: ValidationError) -> list[str]:
    """One line for each mistake: where, what was given, what is allowed."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "the study"
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = _keys_at(item["loc"][:-1])
            close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            lines.append(f"{where}: unknown key.{hint} Known here: {', '.join(known)}.")
        elif item["type"] == "missing":
            lines.append(f"{where}: missing. It has no default, so the study must give it.")
        else:
            message = item["msg"].removeprefix("Value error, ").removesuffix(".")
            message = message[0].lower() + message[1:]
            given = item["input"]
            shown = "" if isinstance(given, dict) else f" (given: {given!r})"
            lines.append(f"{where}: {message}{shown}.")
    return lines


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at a place in the study, found by walking the types."""
    kind: Any = Study
    for part in location:
        annotations = _annotations(kind)
        kind = _settings_type(annotations[str(part)]) if str(part) in annotations else None
    return list(_annotations(kind))


def _annotations(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return {field.name: field.type for field in fields(kind)}
    return {}


def _settings_type(annotation: Any) -> Any:
    """The settings class inside `X`, or inside `X | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next((kind for kind in get_args(annotation) if _annotations(kind)), None)
    return annotation
