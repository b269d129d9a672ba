"""Scoring: the value of every node of a reward for every example.

A value that cannot be computed is NaN with a reason, never 0, and a NaN operand gives NaN in every
operation, `x ** 0` and `max` among them. A branch computes for each row the selected arm only; there the
other arm is NaN without being a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proxygold.errors import RewardError
from proxygold.features.context import FeatureContext
from proxygold.features.registry import find_feature
from proxygold.records import QUERY_TYPE_ALIASES, Example, FloatArray, Scored
from proxygold.rewards.language import to_line
from proxygold.rewards.tree import (
    Binary,
    Branch,
    Clip,
    FeatureUse,
    Function,
    Match,
    Negative,
    Node,
    Number,
    Rescale,
    RewardModelUse,
)

if TYPE_CHECKING:
    from proxygold.models.reward_settings import RewardModelSettings

__all__ = ["score_tree"]

Rows = NDArray[np.intp]
Reasons = NDArray[np.object_]

_BINARY: Mapping[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
}


def _sigmoid(x: FloatArray) -> FloatArray:
    # This form cannot overflow, whatever the sign of x.
    result: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


_FUNCTIONS: Mapping[str, Callable[..., FloatArray]] = {
    "min": lambda *operands: np.min(operands, axis=0),
    "max": lambda *operands: np.max(operands, axis=0),
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
}


def score_tree(tree: Node, examples: Sequence[Example], context: FeatureContext) -> Scored:
    """Score n examples. `parts` has every node except plain numbers; `reasons` are those of the whole reward.

    Raises RewardError for a `match` that has not been measured.
    """
    scoring = _Scoring(examples, context)
    text = scoring.compute(tree, np.arange(len(examples)))
    parts = {part: values for part, values in scoring.values.items() if part == text or part not in scoring.constants}
    return Scored(total=scoring.values[text], parts=parts, reasons=tuple(scoring.reasons[text]))


class _Scoring:
    """The values so far, by canonical text: a node that occurs twice is computed once for each row."""

    def __init__(self, examples: Sequence[Example], context: FeatureContext) -> None:
        self.examples = examples
        self.context = context
        self.values: dict[str, FloatArray] = {}
        self.reasons: dict[str, Reasons] = {}
        self.constants: set[str] = set()
        self._computed: dict[str, NDArray[np.bool_]] = {}

    def compute(self, node: Node, rows: Rows) -> str:
        """Make sure that the node has its values in `rows`; gives its canonical text, the key to them."""
        text = to_line(node)
        computed = self._computed.get(text)
        new = rows if computed is None else rows[~computed[rows]]
        # Operands come first, and are visited even without a row to compute: the keys never depend on the
        # rows.
        values, reasons = self._compute(node, text, new)
        if computed is None:
            n = len(self.examples)
            self.values[text] = np.full(n, np.nan)
            self.reasons[text] = np.full(n, None, dtype=object)
            self._computed[text] = computed = np.zeros(n, dtype=bool)
        self.values[text][new] = values
        self.reasons[text][new] = reasons
        computed[new] = True
        return text

    def _compute(self, node: Node, text: str, rows: Rows) -> tuple[FloatArray, Reasons]:
        match node:
            case Number(value):
                self.constants.add(text)
                return np.full(len(rows), value), _no_reasons(len(rows))
            case FeatureUse(name, arguments):
                return self._feature(text, name, dict(arguments), rows)
            case RewardModelUse():
                return self._reward_model(text, node.settings, rows)
            case Branch():
                return self._branch(node, rows)
            case Match():
                raise RewardError(f"{text} has not been measured: it cannot score.")
            case Negative(operand):
                return self._apply(text, np.negative, (operand,), rows)
            case Binary(operator, left, right):
                return self._apply(text, _BINARY[operator], (left, right), rows)
            case Function(name, operands):
                return self._apply(text, _FUNCTIONS[name], operands, rows)
            case Clip(operand, low, high):
                return self._apply(text, lambda x: np.clip(x, low, high), (operand,), rows)
            case Rescale(operand, low, high, new_low, new_high):
                slope = (new_high - new_low) / (high - low)
                return self._apply(text, lambda x: new_low + (np.maximum(x, low) - low) * slope, (operand,), rows)

    def _feature(self, text: str, name: str, arguments: Mapping[str, Any], rows: Rows) -> tuple[FloatArray, Reasons]:
        if not len(rows):
            return np.empty(0), _no_reasons(0)
        feature = find_feature(name)
        if feature is None:
            raise RewardError(f"the feature {name} is not registered any more. Register it again before scoring.")
        result = feature([self.examples[row] for row in rows], self.context, **arguments)
        return _checked(text, result.values, result.reasons, len(rows))

    def _reward_model(self, text: str, settings: RewardModelSettings, rows: Rows) -> tuple[FloatArray, Reasons]:
        if not len(rows):
            return np.empty(0), _no_reasons(0)
        # Only a reward that names a reward model loads what reward models need.
        from proxygold.models.reward_models import open_reward_model

        values, reasons = open_reward_model(settings).score([self.examples[row] for row in rows])
        return _checked(text, values, reasons, len(rows))

    def _branch(self, node: Branch, rows: Rows) -> tuple[FloatArray, Reasons]:
        labels = [self.examples[row].query_type for row in rows]
        kinds = [QUERY_TYPE_ALIASES.get(label) if isinstance(label, str) else None for label in labels]
        values = np.full(len(rows), np.nan)
        reasons = np.array([_label_trouble(label) for label in labels], dtype=object)
        for kind, arm in node.arms():
            selected = np.array([found == kind for found in kinds], dtype=bool)
            text = self.compute(arm, rows[selected])
            values[selected] = self.values[text][rows[selected]]
            reasons[selected] = self.reasons[text][rows[selected]]
        return values, reasons

    def _apply(
        self, text: str, operation: Callable[..., FloatArray], operands: Sequence[Node], rows: Rows
    ) -> tuple[FloatArray, Reasons]:
        keys = [self.compute(operand, rows) for operand in operands]
        columns = [self.values[key][rows] for key in keys]
        reasons = _no_reasons(len(rows))
        # The first operand that failed gives the reason.
        for key in reversed(keys):
            failed = np.isnan(self.values[key][rows])
            reasons[failed] = self.reasons[key][rows][failed]
        failed = np.any(np.isnan(columns), axis=0)
        with np.errstate(all="ignore"):  # what comes out of range is found below, with its reason
            values = np.asarray(operation(*columns), dtype=np.float64)
        for row in np.flatnonzero(~failed & ~np.isfinite(values)):
            reasons[row] = f"{text}: {_trouble(operation, [float(column[row]) for column in columns])}"
            values[row] = np.nan
        values[failed] = np.nan
        return values, reasons


def _no_reasons(n: int) -> Reasons:
    return np.full(n, None, dtype=object)


def _label_trouble(label: str | None) -> str | None:
    if label is None:
        return "branch: the example has no query_type"
    if isinstance(label, str) and label in QUERY_TYPE_ALIASES:
        return None
    return f"branch: query_type {label!r} is unknown; allowed: {', '.join(QUERY_TYPE_ALIASES)}"


def _trouble(operation: Callable[..., FloatArray], operands: Sequence[float]) -> str:
    """Why finite operands gave no finite value."""
    if operation is np.divide and operands[1] == 0:
        return "division by zero"
    if operation is np.power and operands[0] == 0:
        return "zero to a negative power"
    if operation is np.power and operands[0] < 0 and not operands[1].is_integer():
        return f"the negative number {operands[0]!r} to the broken power {operands[1]!r}"
    if operation is np.log1p:
        return f"log1p of {operands[0]!r}, which must be above -1"
    return "the result is too large"


def _checked(text: str, values: FloatArray, reasons: Sequence[str | None], n: int) -> tuple[FloatArray, Reasons]:
    """A leaf's values as n float64, and a reason for each that is not finite."""
    values = np.array(values, dtype=np.float64)
    if values.shape != (n,) or len(reasons) != n:
        raise RewardError(f"{text} gave {values.shape} values and {len(reasons)} reasons for {n} examples.")
    column = _no_reasons(n)
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        column[row] = reasons[row] or f"{text}: the value is {values[row]}"
        values[row] = np.nan
    return values, column
