"""databricks-dolly-15k (Conover et al. 2023): `instruction`, `context`, `response`, `category`, written by people.

CC BY-SA 3.0, https://huggingface.co/datasets/databricks/databricks-dolly-15k.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxygold.errors import DataError

__all__ = ["from_dolly"]


def from_dolly(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with `prompt` and `reference`; the context follows the instruction after a blank line.

    Raises DataError without an instruction.

    >>> from_dolly({"instruction": "Who?", "context": "Ann sat.", "response": "Ann", "category": "closed_qa"})
    {'category': 'closed_qa', 'prompt': 'Who?\\n\\nAnn sat.', 'reference': 'Ann'}
    """
    instruction, context = row.get("instruction"), row.get("context") or ""
    if not isinstance(instruction, str) or not instruction.strip() or not isinstance(context, str):
        raise DataError(f"instruction must be text that is not empty, context text; the row has {', '.join(row)}")
    others = {name: value for name, value in row.items() if name not in ("instruction", "context", "response")}
    prompt = f"{instruction.strip()}\n\n{context.strip()}" if context.strip() else instruction
    return {**others, "prompt": prompt, "reference": row.get("response") or None}
