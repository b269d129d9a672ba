"""The nodes of a parsed reward: frozen values, only in forms that the language can print and read back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from proxygold.errors import RewardError
from proxygold.features.registry import Argument, find_feature
from proxygold.records import CLOSED_ENDED, OPEN_ENDED

if TYPE_CHECKING:
    from proxygold.models.reward_settings import RewardModelSettings

__all__ = [
    "Binary",
    "Branch",
    "Clip",
    "FeatureUse",
    "Function",
    "Match",
    "Negative",
    "Node",
    "Number",
    "Rescale",
    "RewardModelUse",
    "children",
    "depth",
    "number",
    "required_columns",
    "walk",
    "with_children",
]


@dataclass(frozen=True, slots=True)
class Number:
    """A constant: finite and not negative (`-2` is the negative of 2, as in Python's grammar)."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or math.copysign(1.0, self.value) < 0:
            raise RewardError(
                f"{self.value} is no constant of the reward language: it must be finite and not negative."
            )


@dataclass(frozen=True, slots=True)
class FeatureUse:
    """A feature by its short name, with the arguments that are not the defaults, in the feature's order."""

    name: str
    arguments: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, slots=True)
class RewardModelUse:
    """`RM("model")`: the score of a reward model by name, hub id or path, or by its `url`.

    `arguments` are its other settings that are not the defaults, in the order of `RewardModelSettings`.
    """

    model: str = ""
    arguments: tuple[tuple[str, Argument], ...] = ()

    @property
    def settings(self) -> RewardModelSettings:
        """Raises ConfigError when the arguments do not fit together."""
        from proxygold.models.reward_settings import reward_model_settings

        return reward_model_settings(model=self.model, **dict(self.arguments))


@dataclass(frozen=True, slots=True)
class Negative:
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is one of + - * / **."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Function:
    """min and max of two or more operands; log1p, tanh and sigmoid of one."""

    name: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """`operand` no lower than `low` and no higher than `high`."""

    operand: Node
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise RewardError(f"clip: the lower limit {self.low} is above the upper limit {self.high}. Swap them.")


@dataclass(frozen=True, slots=True)
class Rescale:
    """The linear map that takes `low` to `new_low` and `high` to `new_high`.

    An operand below `low` is taken as `low`, so that a negative relevance never turns a product around;
    above `high` the line goes on.
    """

    operand: Node
    low: float
    high: float
    new_low: float
    new_high: float

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise RewardError(
                f"rescale: the range from {self.low} to {self.high} is empty. "
                "Give the lower end first: rescale(x, low, high, new_low, new_high)."
            )


@dataclass(frozen=True, slots=True)
class Match:
    """`operand` brought onto the scale of `target`: a `Rescale` whose numbers are still to be measured."""

    operand: Node
    target: Node


@dataclass(frozen=True, slots=True)
class Branch:
    """`open_ended` for open-ended queries, `closed_ended` for the others."""

    open_ended: Node
    closed_ended: Node

    def arms(self) -> tuple[tuple[str, Node], ...]:
        return ((OPEN_ENDED, self.open_ended), (CLOSED_ENDED, self.closed_ended))


Node = Number | FeatureUse | RewardModelUse | Negative | Binary | Function | Clip | Rescale | Match | Branch
_NODE_TYPES = (Number, FeatureUse, RewardModelUse, Negative, Binary, Function, Clip, Rescale, Match, Branch)


def number(value: float) -> Node:
    """The node of any finite number: a `Number`, or the `Negative` of one."""
    value = float(value)
    return Negative(Number(-value)) if math.copysign(1.0, value) < 0 else Number(value)


def children(node: Node) -> tuple[Node, ...]:
    """The operands of a node, in the order in which they are written."""
    if isinstance(node, Function):
        return node.operands
    values = (getattr(node, field.name) for field in fields(node))
    return tuple(value for value in values if isinstance(value, _NODE_TYPES))


def with_children(node: Node, new: tuple[Node, ...]) -> Node:
    """The same node with other operands."""
    if isinstance(node, Function):
        return Function(node.name, new)
    names = [field.name for field in fields(node) if isinstance(getattr(node, field.name), _NODE_TYPES)]
    return replace(node, **dict(zip(names, new, strict=True)))  # type: ignore[arg-type]


def walk(node: Node) -> Iterator[Node]:
    """Every node, operands before what is made of them."""
    for child in children(node):
        yield from walk(child)
    yield node


def depth(node: Node) -> int:
    """Levels of nesting: 1 for a leaf."""
    return 1 + max((depth(child) for child in children(node)), default=0)


def required_columns(node: Node) -> frozenset[str]:
    """The columns that some row needs to be scored: `reference`, `query_type`, those of user features."""
    columns: set[str] = set()
    for part in walk(node):
        if isinstance(part, Branch):
            columns.add("query_type")
        elif isinstance(part, FeatureUse) and (feature := find_feature(part.name)) is not None:
            columns |= feature.required_columns | feature.columns(dict(part.arguments))
    return frozenset(columns)
