"""A user's own features: a plain function of one example to a number, or a class that is made once in a process."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, MappingProxyType
from typing import Any, TypeVar

import numpy as np

from proxygold.errors import RewardError
from proxygold.features.context import FeatureContext
from proxygold.features.custom_class import compute_with
from proxygold.features.custom_rows import one_by_one
from proxygold.features.registry import (
    Argument,
    Compute,
    Feature,
    FeatureValues,
    Parameter,
    register_feature,
    registered_feature,
)
from proxygold.records import Example

__all__ = ["feature"]

# A function of an example, or a class: what `@feature` gives back as it was.
Own = TypeVar("Own", bound=Callable[..., Any])


def feature(name: str, *, columns: Iterable[str] = (), replace: bool = False) -> Callable[[Own], Own]:
    """Make a function of one example, or a class, a feature of the reward language, under `name`. Gives it back.

    A function takes an `Example` and returns a number. Its keyword-only parameters become arguments in a reward
    line. A class is for a feature that has something to load or is faster on many examples: its parameters are the
    arguments, and an object of it is made in each process when it is first to score, once for each set of
    arguments. It has a method `score(examples)`, which takes a list of examples and returns as many numbers, or
    `__call__(example)`, which returns one; calls of one object never overlap. Every parameter needs a default: a
    number, a text or a truth value.

    `columns` names the columns that it needs (`reference`, `query_type`, or any other of the data). Where it raises,
    or gives None or a number that is not finite, that example's value is NaN, and the reason says why. A `score` that
    fails on many examples is given fewer, so that one bad example costs no other its value. A class that fails to be
    made is a RewardError at the first score.

    Registering a name that exists or is reserved raises RewardError; `replace=True` redefines one of your
    own. Reading the same file twice registers once.

    A `reward_id` has a hash of the file that the feature is written in; what that file imports is not looked at.

    >>> @feature("shouting")
    ... def shouting(example, *, marks="!"):
    ...     return example.completion.count(marks) / max(1, len(example.completion))
    >>> from proxygold import Example, reward
    >>> reward("shouting").score([Example("Stop?", "No!!")]).total.tolist()
    [0.5]
    >>> @feature("novelty")
    ... class Novelty:
    ...     def __init__(self, known="the a an of"):
    ...         self.known = set(known.split())  # or a model that takes a minute to load
    ...     def score(self, examples):
    ...         return [len(set(example.completion.split()) - self.known) for example in examples]
    >>> reward('novelty(known="the")').score([Example("Whose?", "the cat of the house")]).total.tolist()
    [3.0]
    """

    def register(own: Own) -> Own:
        made = _as_feature(name, own, frozenset(columns))
        known = registered_feature(name)
        # One file can be read twice: imported by its name, and as a plug-in.
        read_before = known is not None and known.source == made.source and known.module != made.module
        if not read_before or replace:
            register_feature(made, replace=replace)
        return own

    return register


def _as_feature(name: str, own: Callable[..., Any], columns: frozenset[str]) -> Feature:
    written = inspect.unwrap(own)  # below decorators, which may come from another file
    if not (inspect.isfunction(written) or inspect.ismethod(written) or inspect.isclass(written)):
        raise RewardError(f"@feature({name!r}) takes a function of one example or a class, not {type(own).__name__}.")
    file = _file_of(written)
    return Feature(
        name=name,
        long_name=name,
        compute=compute_with(name, own, columns) if isinstance(own, type) else _compute(name, own, columns),
        required_columns=columns,
        parameters=_parameters(name, own),
        source=_source_hash(written, file),
        module=written.__module__,
        file=str(Path(file).resolve()) if file else "",
    )


def _compute(name: str, function: Callable[..., Any], columns: frozenset[str]) -> Compute:
    def compute(examples: Sequence[Example], context: FeatureContext, **arguments: Any) -> FeatureValues:
        return one_by_one(name, function, columns, examples, arguments)

    return compute


def _parameters(name: str, own: Callable[..., Any]) -> Mapping[str, Parameter]:
    parameters = {}
    for parameter in inspect.signature(own).parameters.values():
        # Of a function, the first parameter is the example; of a class, all are arguments.
        by_name = isinstance(own, type) and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        if not by_name and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        default = parameter.default
        if isinstance(default, np.generic):
            default = default.item()
        if type(default) not in _KINDS:
            raise RewardError(
                f"@feature({name!r}): the keyword {parameter.name!r} needs a default: "
                "a number, a text or a truth value."
            )
        parameters[parameter.name] = Parameter(default, _KINDS[type(default)], _same_type_as(default))
    return MappingProxyType(parameters)


_KINDS: Mapping[type, str] = MappingProxyType(
    {float: "a number", int: "a whole number", str: "a text", bool: "True or False"}
)


def _same_type_as(default: Argument) -> Callable[[Argument], bool]:
    return lambda value: type(value) is type(default)


def _file_of(written: Any) -> str:
    """The file that a function or class is written in, "" if there is none: it was typed into a session."""
    try:
        file = inspect.getsourcefile(written) or ""
    except (TypeError, OSError):  # a class of a session
        return ""
    return file if Path(file).is_file() else ""


def _source_hash(written: Any, file: str) -> str:
    """A hash of a feature's code: of its whole file, where helpers live, else of the function or class alone."""
    code = getattr(written, "__code__", None)
    digest = hashlib.sha256(written.__qualname__.encode())
    if code is not None:
        digest.update(str(code.co_firstlineno).encode())
    if file:
        digest.update(Path(file).read_bytes())
    else:
        for part in [code] if code is not None else _codes_of(written):
            digest.update(_code_text(part).encode())
    return digest.hexdigest()[:16]


def _codes_of(cls: type) -> Iterator[CodeType]:
    """The code of a class's methods and of those it inherits."""
    for base in cls.__mro__:
        for member in vars(base).values():
            code = getattr(inspect.unwrap(member) if callable(member) else member, "__code__", None)
            if isinstance(code, CodeType):
                yield code


def _code_text(code: CodeType) -> str:
    # Code inside code prints its address, which is another one in every process.
    constants = [_code_text(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return repr((code.co_code, code.co_names, constants))
