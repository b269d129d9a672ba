"""JSON a line at a time: how numbers are written that JSON has no word for, and how a damaged line is told."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proxygold.errors import StoreError

__all__ = ["finite", "iterate_jsonl", "parse_jsonl", "to_json"]


def to_json(value: Any) -> str:
    """`value` as one line of JSON, NaN and infinities as null (JSON has no word for them)."""
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """`value` with None for each NaN and infinity in it, and with Python's numbers for numpy's."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a numpy scalar
        return finite(value.item())
    return value


def parse_jsonl(
    path: Path, content: bytes, needed: set[str], allowed: set[str] | None, remedy: str
) -> list[dict[str, Any]]:
    """The records that `iterate_jsonl` gives."""
    return list(iterate_jsonl(path, content, needed, allowed, remedy))


def iterate_jsonl(
    path: Path, content: bytes, needed: set[str], allowed: set[str] | None, remedy: str
) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file of ours. Raises StoreError with the line of one that is damaged, and the remedy.

    A record has the `needed` keys and, unless that is None, no others than `allowed`. Blank lines are passed over.
    """
    # Not splitlines(): it also breaks at characters that JSON leaves bare inside a text, such as U+2028.
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except ValueError as error:  # not JSON, or not UTF-8
            problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise StoreError(f"{path}:{number} is not JSON ({problem}). {remedy}") from error
        if not isinstance(row, dict) or not needed <= row.keys() or not (allowed is None or row.keys() <= allowed):
            raise StoreError(f"{path}:{number} is not a record of this kind. {remedy}")
        yield row
