"""What every feature that compares with the reference answer needs: the rows that have one, and the others' reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proxygold.errors import RewardError
from proxygold.features.registry import FeatureValues, reasoned
from proxygold.records import Example

__all__ = ["each_reference", "missing_package", "with_reference"]


def with_reference(examples: Sequence[Example], feature: str) -> tuple[list[int], list[str | None]]:
    """The rows whose reference says something, and a reason for each of the others.

    >>> with_reference([Example("?", "a", reference="b"), Example("?", "a", reference=" ")], "AR")
    ([0], [None, 'AR: the example has no reference'])
    """
    rows = [row for row, example in enumerate(examples) if example.reference and example.reference.strip()]
    reasons: list[str | None] = [f"{feature}: the example has no reference"] * len(examples)
    for row in rows:
        reasons[row] = None
    return rows, reasons


def each_reference(
    examples: Sequence[Example], feature: str, compare: Callable[[str, str], float | str]
) -> FeatureValues:
    """`compare(reference, completion)` for every row with a reference: a number, or the reason why there is none.

    Equal pairs are compared once.
    """
    rows, reasons = with_reference(examples, feature)
    values = np.full(len(examples), np.nan)
    known: dict[tuple[str, str], float | str] = {}
    for row in rows:
        pair = (examples[row].reference or "", examples[row].completion)
        if pair not in known:
            known[pair] = compare(*pair)
        result = known[pair]
        if isinstance(result, str):
            reasons[row] = f"{feature}: {result}"
        else:
            values[row] = result
    return reasoned(values, reasons)


def missing_package(feature: str, error: ImportError) -> RewardError:
    """The error for a feature whose package is not installed."""
    return RewardError(
        f"{feature} needs {error.name or error}, which is not installed. Run: pip install 'proxygold[features]'"
    )
