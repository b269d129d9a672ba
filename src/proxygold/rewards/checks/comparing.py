"""Whether two scorings of the same answers agree, and what to say of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxygold.records import Example, FloatArray
from proxygold.rewards.checks.finding import Outcome, fail, ok, warn

__all__ = ["agreement", "shown"]

# Relative to the largest score: what float32 sums in another order differ by, and what a policy could feel.
_ROUNDING = 1e-6
_FELT = 1e-3


def agreement(
    first: FloatArray, second: FloatArray, examples: Sequence[Example], ways: tuple[str, str], remedy: str
) -> Outcome:
    """Compare (n,) scores of n examples, made in two `ways`. One that is NaN in one way only is as far as can be."""
    scale = np.nanmax(np.abs(first), initial=0.0) or 1.0
    difference = np.abs(first - second) / scale
    difference[np.isnan(first) & np.isnan(second)] = 0.0
    difference[np.isnan(difference)] = np.inf
    worst = int(np.argmax(difference))
    largest = float(difference[worst])
    if largest <= _ROUNDING:
        return ok(f"{len(first)} answers score the same" + (f", to {largest:.0e}" if largest else ""))
    differing = int((difference > _ROUNDING).sum())
    seen = (
        f"{differing} of {len(first)} answers differ; {shown(examples[worst].completion)} scores "
        f"{_number(first[worst])} {ways[0]} and {_number(second[worst])} {ways[1]}"
    )
    return warn(f"{seen} ({largest:.0e} of the largest score)", remedy) if largest <= _FELT else fail(seen, remedy)


def shown(text: str) -> str:
    """The beginning of a text, in quotes, on one line."""
    return repr(text if len(text) <= 30 else text[:29] + "…")


def _number(value: float) -> str:
    return "NaN" if np.isnan(value) else f"{value:.9g}"
