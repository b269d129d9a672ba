"""From a study file and `key=value` overrides to a checked `Study`; each mistake names what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Tag, ValidationError

from proxygold.errors import ConfigError
from proxygold.study.config import Study

__all__ = ["load_study", "parse_settings", "parse_study"]

Settings = TypeVar("Settings", bound=BaseModel)


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
    return parse_settings(Study, text, overrides, source)


def parse_settings(
    kind: type[Settings], text: str, overrides: Sequence[str] = (), source: str = "settings"
) -> Settings:
    """Settings of any kind from YAML and `key=value` overrides. Raises ConfigError for every mistake in them."""
    try:
        raw = yaml.load(text, Loader=_UniqueKeyLoader)
    except ConfigError as error:
        raise ConfigError(f"{source}, {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{source} must be a mapping with the keys {', '.join(kind.model_fields)}; it holds "
            f"{'nothing' if raw is None else f'a {type(raw).__name__}'}."
        )
    for override in overrides:
        _apply(raw, override)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}:\n" + "\n".join(f"  {line}" for line in _explain(error, kind))) from error


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


def _explain(error: ValidationError, settings: type[BaseModel]) -> list[str]:
    """One line for each mistake: where, what was given, what is allowed."""
    lines = []
    for item in error.errors():
        place = _Place.of(item["loc"], settings)
        where = ".".join(place.names) or "the settings"
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            lines.append(f"{where}: unknown key.{_hint(item['loc'], settings)}")
        elif item["type"] == "missing":
            lines.append(f"{where}: missing. It has no default, so it must be given.")
        elif item["type"] == "union_tag_invalid":
            context = item["ctx"]
            named = context["discriminator"].strip("_()")
            allowed = " or ".join(context["expected_tags"].rsplit(", ", 1))
            lines.append(f"{where}.{named}: input should be {allowed} (given: {context['tag']!r}).")
        elif item["type"] == "union_tag_not_found":
            lines.append(f"{where}: must be a mapping of settings (given: {item['input']!r}).")
        else:
            message = item["msg"].removeprefix("Value error, ").removesuffix(".")
            message = message[0].lower() + message[1:]
            given = item["input"]
            shown = "" if isinstance(given, dict) else f" (given: {given!r})"
            lines.append(f"{where}: {message}{shown}.")
    return lines


def _hint(location: tuple[int | str, ...], settings: type[BaseModel]) -> str:
    """What to write in place of the unknown key at `location`."""
    key, around = str(location[-1]), _Place.of(location[:-1], settings)
    known = list(_annotations(_settings_type(around.kind)))
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    others = [choice for choice, kind in around.choices.items() if key in _annotations(kind)]
    hint = f" It is a setting of {' and '.join(others)}, not of {location[-2]}." if others else ""
    hint = f" Did you mean {close[0]!r}?" if close and not others else hint
    return f"{hint} Known here: {', '.join(known)}."


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the settings as their writer knows it, and the type that stands there.

    pydantic names the class of settings that was chosen (by `training.algorithm`) as a part of its own; `choices` are
    the classes that it was chosen from.
    """

    names: tuple[str, ...]
    kind: Any
    choices: Mapping[str, Any]

    @classmethod
    def of(cls, location: tuple[int | str, ...], settings: type[BaseModel]) -> _Place:
        kind: Any = settings
        names: list[str] = []
        choices: dict[str, Any] = {}
        for part in location:
            choices = _choices(kind)
            if part in choices:
                kind = choices[str(part)]
                continue
            names.append(str(part))
            kind = _annotations(_settings_type(kind)).get(str(part))
        return cls(tuple(names), kind, choices)


def _choices(annotation: Any) -> dict[str, Any]:
    """The classes that a tag picks from, by their tags; nothing where there is no such choice."""
    found: dict[str, Any] = {}
    for member in get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ():
        kind, *notes = get_args(member) or (member,)
        found |= {note.tag: kind for note in notes if isinstance(note, Tag)}
    return found


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
