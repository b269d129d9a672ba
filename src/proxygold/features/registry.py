"""The names that a reward line may use for features, and what stands behind each."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import numpy as np

from proxygold.errors import RewardError
from proxygold.features.context import FeatureContext
from proxygold.features.installed import load_installed
from proxygold.records import Example, FloatArray

__all__ = [
    "RESERVED_NAMES",
    "Argument",
    "Compute",
    "Feature",
    "FeatureValues",
    "Parameter",
    "feature_names",
    "find_feature",
    "forget_module",
    "nearest",
    "reasoned",
    "register_feature",
    "registered_feature",
]

Argument = float | int | str | bool

# Words of the reward language itself, of the paper, and of a study. A feature called one of these would be
# read as it.
RESERVED_NAMES = frozenset(
    {
        *(
            "min",
            "max",
            "clip",
            "rescale",
            "match",
            "log1p",
            "tanh",
            "sigmoid",
            "branch",
            "open_ended",
            "closed_ended",
        ),
        *("RM", "RER", "F", "M", "T", "nan", "inf"),
        *("gold", "proxy", "reward", "feature", "prompt", "completion", "reference", "query_type"),
    }
)


@dataclass(frozen=True, slots=True)
class FeatureValues:
    """`values`: (n,) float64, NaN where there is none; `reasons`: why, None where there is a value."""

    values: FloatArray
    reasons: tuple[str | None, ...]


Compute = Callable[..., FeatureValues]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A keyword argument of a feature. `allowed` says in words which values `accepts` takes."""

    default: Argument
    allowed: str
    accepts: Callable[[Argument], bool]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature as the reward language knows it.

    `compute(examples, context, **arguments)` gives one value for each example. `version` changes whenever
    the same text would get another value, and `source` is a hash of a user's own code: both are part of a
    `reward_id`, and so are the files of the `models` (besides the reward's encoder) that a value depends on:
    names, directories or hub ids, for given arguments. `columns` are those required for given arguments only.
    """

    name: str
    long_name: str
    compute: Compute
    version: int = 1
    required_columns: frozenset[str] = frozenset()
    columns: Callable[[Mapping[str, Argument]], frozenset[str]] = lambda arguments: frozenset()
    uses_encoder: bool = False
    uses_stop_strings: bool = False
    models: Callable[[Mapping[str, Argument]], Sequence[str]] = lambda arguments: ()
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""
    module: str = ""
    file: str = ""

    def check_arguments(self, arguments: Mapping[str, Argument]) -> dict[str, Argument]:
        """The arguments as the feature takes them: a whole number for a parameter that has one as its default.

        Raises RewardError for an unknown argument or a value that is not allowed.
        """
        checked = {}
        for name, value in arguments.items():
            if name not in self.parameters:
                takes = ", ".join(self.parameters) or "no arguments"
                hint = nearest(name, self.parameters)
                raise RewardError(f"{self.name} has no argument {name!r}. It takes: {takes}.{hint}")
            parameter = self.parameters[name]
            whole = type(parameter.default) is int and isinstance(value, float) and value.is_integer()
            checked[name] = int(value) if whole else value
            if not parameter.accepts(checked[name]):
                raise RewardError(
                    f"{self.name}({name}={checked[name]!r}) is not allowed. "
                    f"The argument {name} must be {parameter.allowed}."
                )
        return checked

    def __call__(self, examples: Sequence[Example], context: FeatureContext, **arguments: Any) -> FeatureValues:
        return self.compute(examples, context, **arguments)


_FEATURES: dict[str, Feature] = {}


def register_feature(feature: Feature, *, replace: bool = False) -> None:
    """Make a feature known by its short and its long name.

    Raises RewardError when a name is no plain identifier, is reserved, or belongs to another feature already.
    """
    for name in dict.fromkeys((feature.name, feature.long_name)):
        if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name):
            raise RewardError(
                f"a feature cannot be called {name!r}: use a letter followed by letters, digits or underscores (ASCII)."
            )
        if name in RESERVED_NAMES:
            raise RewardError(f"a feature cannot be called {name!r}: the name is reserved. Choose another one.")
        known = _FEATURES.get(name)
        if known is not None and not replace:
            raise RewardError(
                f"a feature called {name!r} is registered already. Choose another name"
                + (", or pass replace=True to redefine it." if known.source else ".")
            )
        if known is not None and not known.source:
            raise RewardError(f"{name!r} is a built-in feature and cannot be replaced. Choose another name.")
    _FEATURES[feature.name] = _FEATURES[feature.long_name] = feature


def feature_names() -> list[str]:
    """Every name that stands for a feature, short names first."""
    return sorted(_FEATURES, key=lambda name: (name != _FEATURES[name].name, name))


def find_feature(name: str) -> Feature | None:
    """The feature with this short or long name, or None.

    A name that is not known is looked for in installed packages. Raises RewardError when the one that offers it
    fails, or does not register it.
    """
    if name not in _FEATURES and name not in RESERVED_NAMES:
        package = load_installed(name)
        if package is not None and name not in _FEATURES:
            raise RewardError(
                f"the package {package} offers the feature {name!r}, and importing it registers none of that name. It "
                f'needs @feature("{name}"). Update or uninstall it.'
            )
    return _FEATURES.get(name)


def registered_feature(name: str) -> Feature | None:
    """The feature registered by this name in this process, or None. Nothing is imported."""
    return _FEATURES.get(name)


def forget_module(module: str) -> None:
    """Take back what a module registered that failed half-way."""
    for name in [name for name, feature in _FEATURES.items() if feature.module == module]:
        del _FEATURES[name]


def nearest(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """` Did you mean …?` with the known name nearest to a misspelt one, or nothing. Letter case does not count.

    >>> nearest("lenght_incentive", ["length_incentive", "LI"])
    ' Did you mean length_incentive?'
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = get_close_matches(name.casefold(), by_folded, n=1)
    return f" Did you mean {by_folded[found[0]]}?" if found else ""


def reasoned(values: Sequence[float] | FloatArray, reasons: Sequence[str | None] | None = None) -> FeatureValues:
    """Values with their reasons; without reasons, all values are as they should be."""
    array = np.asarray(values, dtype=np.float64)
    return FeatureValues(array, tuple(reasons) if reasons is not None else (None,) * len(array))
