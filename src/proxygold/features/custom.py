"""A user's own features: a plain function of one example to a number, and files of them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import CodeType, MappingProxyType
from typing import Any, TypeVar

from proxygold.errors import RewardError
from proxygold.features.context import FeatureContext
from proxygold.features.registry import (
    Argument,
    Feature,
    FeatureValues,
    Parameter,
    find_feature,
    reasoned,
    register_feature,
)
from proxygold.records import Example

__all__ = ["feature", "load_plugin", "restore_feature"]

Function = TypeVar("Function", bound=Callable[..., float])


def feature(name: str, *, columns: Iterable[str] = (), replace: bool = False) -> Callable[[Function], Function]:
    """Make a function of one example a feature of the reward language, under `name`. Gives the function back.

    The function takes an `Example` and returns a number. Its keyword-only parameters with a default become
    arguments in a reward line. `columns` names the columns that it needs (`reference`, `query_type`, or any
    other of the data). When it raises, or returns None or a number that is not finite, that example's value
    is NaN, and the reason says why.

    Registering a name that exists or is reserved raises RewardError; `replace=True` redefines one of your
    own. Reading the same file twice registers once.

    >>> @feature("shouting")
    ... def shouting(example, *, marks="!"):
    ...     return example.completion.count(marks) / max(1, len(example.completion))
    >>> find_feature("shouting").name
    'shouting'
    """

    def register(function: Function) -> Function:
        made = _as_feature(name, function, frozenset(columns))
        known = find_feature(name)
        # One file can be read twice: imported by its name, and as a plug-in.
        read_before = known is not None and known.source == made.source and known.module != made.module
        if not read_before or replace:
            register_feature(made, replace=replace)
        return function

    return register


def _as_feature(name: str, function: Callable[..., float], columns: frozenset[str]) -> Feature:
    if not callable(function):
        raise RewardError(f"@feature({name!r}) takes a function of one example, not {type(function).__name__}.")

    def compute(examples: Sequence[Example], context: FeatureContext, **arguments: Any) -> FeatureValues:
        pairs = [_one_value(name, function, columns, example, arguments) for example in examples]
        return reasoned([value for value, _ in pairs], [reason for _, reason in pairs])

    file = inspect.getsourcefile(function) or ""
    return Feature(
        name=name,
        long_name=name,
        compute=compute,
        required_columns=columns,
        parameters=_parameters(name, function),
        source=_source_hash(function, file),
        module=function.__module__,
        file=str(Path(file).resolve()) if Path(file).is_file() else "",
    )


def _one_value(
    name: str,
    function: Callable[..., float],
    columns: frozenset[str],
    example: Example,
    arguments: Mapping[str, Any],
) -> tuple[float, str | None]:
    """The function's number for one example, or NaN and why: the boundary to code that is not ours."""
    for column in sorted(columns):
        present = (
            getattr(example, column, None) if column in ("reference", "query_type") else example.columns.get(column)
        )
        if present is None:
            return math.nan, f"{name}: the example has no {column}"
    try:
        result = function(example, **arguments)
    except Exception as error:  # noqa: BLE001 - whatever a user's function raises is the reason it has no value
        place = traceback.extract_tb(error.__traceback__)[-1]
        return (
            math.nan,
            f"{name} raised {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})",
        )
    try:
        value = float(result)
    except (TypeError, ValueError):
        return math.nan, f"{name} returned {type(result).__name__}, not a number"
    return (value, None) if math.isfinite(value) else (math.nan, f"{name} returned {value}")


def _parameters(name: str, function: Callable[..., float]) -> Mapping[str, Parameter]:
    parameters = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        default = parameter.default
        if not isinstance(default, float | int | str | bool):
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


def _source_hash(function: Callable[..., float], file: str) -> str:
    """A hash of a feature's code: of its whole file, where helpers live, else of the function alone."""
    code = getattr(function, "__code__", None)
    digest = hashlib.sha256(getattr(function, "__qualname__", repr(function)).encode())
    if code is not None:
        digest.update(str(code.co_firstlineno).encode())
    if Path(file).is_file():
        digest.update(Path(file).read_bytes())
    elif code is not None:
        digest.update(_code_text(code).encode())
    return digest.hexdigest()[:16]


def _code_text(code: CodeType) -> str:
    # Code inside code prints its address, which is another one in every process.
    constants = [_code_text(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return repr((code.co_code, code.co_names, constants))


def load_plugin(path: str | Path) -> None:
    """Run a Python file of `@feature` functions, so that reward lines can use them.

    The file is the user's own and runs with the user's rights, as any import does. Reading it twice changes
    nothing. Raises RewardError when it does not exist or fails.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise RewardError(f"there is no plug-in file {path}. Give the path of a Python file with @feature functions.")
    # The path's hash keeps two plug-ins of one file name apart.
    name = f"proxygold_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RewardError(f"the plug-in {path} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except RewardError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise RewardError(f"the plug-in {path} failed: {type(error).__name__}: {error}.") from error


def restore_feature(name: str, module: str, file: str) -> None:
    """Make sure that a user's feature is registered in this process, from the module or the file that once defined it.

    Raises RewardError when neither can be read here, or neither defines the feature.
    """
    if find_feature(name) is None and module != "__main__":
        # A module that cannot be imported here may still be read as a file.
        with suppress(ImportError):
            importlib.import_module(module)
    if find_feature(name) is None and file:
        load_plugin(file)
    if find_feature(name) is None:
        raise RewardError(
            f"the feature {name!r} is not known in this process: it was defined in {file or module}. "
            "Define it in a file and give that file in plugins=, so that other processes find it."
        )
