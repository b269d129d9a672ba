"""Running a user's own code on examples: what it returns becomes a number, what it raises NaN with a reason.

The boundary to code that is not ours, row by row: one example that it cannot take costs no other its value.
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxygold.features.registry import FeatureValues, reasoned
from proxygold.records import Example

__all__ = ["all_at_once", "mistake_in", "one_by_one", "place_of"]

_Row = tuple[float, str | None]

# NaN is the one thing besides a number that a feature may mean to return.
_MISTAKE = re.compile(r"(?P<what>\w+ raised \w+): .*(?P<where> \(\S+:\d+\))|\w+ returned (?!nan$).*", re.DOTALL)


def one_by_one(
    name: str,
    function: Callable[..., object],
    columns: Iterable[str],
    examples: Sequence[Example],
    arguments: Mapping[str, Any],
) -> FeatureValues:
    """A function's number for each of n examples."""

    def row(example: Example) -> _Row:
        if (missing := _missing(name, columns, example)) is not None:
            return math.nan, missing
        try:
            result = function(example, **arguments)
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises is the reason it has no value
            return math.nan, _raised(name, error)
        return _number(name, result)

    return _values(map(row, examples))


def all_at_once(
    name: str, score: Callable[[list[Example]], object], columns: Iterable[str], examples: Sequence[Example]
) -> FeatureValues:
    """A method's numbers for n examples, given together.

    Of those that it fails on it is given one half, then the other, down to the example that it cannot take.
    """

    def rows(given: list[Example]) -> list[_Row]:
        found = _attempt(name, score, given)
        if not isinstance(found, str):
            return found
        if len(given) == 1:
            return [(math.nan, found)]
        half = len(given) // 2
        return rows(given[:half]) + rows(given[half:])

    missing = [_missing(name, columns, example) for example in examples]
    usable = [example for example, reason in zip(examples, missing, strict=True) if reason is None]
    found = iter(rows(usable) if usable else ())
    return _values(next(found) if reason is None else (math.nan, reason) for reason in missing)


def mistake_in(reason: str) -> str | None:
    """What a user's feature did wrong, if a reason says so, without what differs from text to text; else None.

    >>> mistake_in("hedging raised KeyError: 'maybe' (own.py:7)")
    'hedging raised KeyError (own.py:7)'
    >>> mistake_in("hedging returned NoneType, not a number")
    'hedging returned NoneType, not a number'
    >>> mistake_in("hedging returned nan")
    """
    found = _MISTAKE.fullmatch(reason)
    if found is None:
        return None
    return found["what"] + found["where"] if found["what"] else reason


def place_of(error: Exception) -> str:
    """The file and line where an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _attempt(name: str, score: Callable[[list[Example]], Any], given: list[Example]) -> list[_Row] | str:
    """A row for each example given, or why there is none."""
    try:
        result = score(list(given))
    except Exception as error:  # noqa: BLE001 - as above
        return _raised(name, error)
    try:
        numbers = list(result)
    except TypeError:
        return f"{name} returned {type(result).__name__}, not a list of numbers"
    if len(numbers) != len(given):
        return f"{name} returned {len(numbers)} numbers for {len(given)} example{'s' if len(given) > 1 else ''}"
    return [_number(name, number) for number in numbers]


def _missing(name: str, columns: Iterable[str], example: Example) -> str | None:
    for column in sorted(columns):
        named = column in ("reference", "query_type")
        if (getattr(example, column) if named else example.columns.get(column)) is None:
            return f"{name}: the example has no {column}"
    return None


def _raised(name: str, error: Exception) -> str:
    return f"{name} raised {type(error).__name__}: {error} ({place_of(error)})"


def _number(name: str, result: Any) -> _Row:
    try:
        value = float(result)
    except OverflowError:
        return math.nan, f"{name} returned a number too large for a float"
    except Exception:  # noqa: BLE001 - what came back is not ours either: a tensor of two numbers, say
        return math.nan, f"{name} returned {type(result).__name__}, not a number"
    return (value, None) if math.isfinite(value) else (math.nan, f"{name} returned {value}")


def _values(rows: Iterable[_Row]) -> FeatureValues:
    pairs = list(rows)
    return reasoned([value for value, _ in pairs], [reason for _, reason in pairs])
