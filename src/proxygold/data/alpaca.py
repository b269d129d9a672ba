"""Instructions in the form of Stanford Alpaca (Taori et al. 2023): `instruction`, `input`, `output`.

Alpaca (CC BY-NC 4.0, https://huggingface.co/datasets/tatsu-lab/alpaca), AlpacaFarm (Dubois et al. 2023, CC BY-NC 4.0,
https://huggingface.co/datasets/tatsu-lab/alpaca_farm) and AlpacaEval (https://huggingface.co/datasets/tatsu-lab/alpaca_eval,
whose `output` is text-davinci-003's) have it. So have the copies of the last two that the paper's authors give out: one
puts the whole prompt under `input`, and both name query types `qtype`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxygold.errors import DataError
from proxygold.templates import ALPACA_INPUT

__all__ = ["from_alpaca"]

_TAKEN = ("instruction", "input", "output", "text", "qtype")  # `text` is the whole in Alpaca's prompt format


def from_alpaca(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with `prompt`, `reference`, `query_type` if there is one, and what else it has.

    An input follows its instruction under a heading, as in Alpaca's prompt format and in the authors' copies. Raises
    DataError for a row without either.

    >>> from_alpaca({"instruction": "Add.", "input": "1 and 2", "output": "3"})
    {'prompt': 'Add.\\n\\n### Input:\\n1 and 2', 'reference': '3'}
    """
    instruction, given = row.get("instruction") or "", row.get("input") or ""
    if not isinstance(instruction, str) or not isinstance(given, str):
        raise DataError("instruction and input must be text")
    prompt = ALPACA_INPUT.join(text for text in (instruction, given) if text.strip())
    if not prompt:
        raise DataError(f"there is neither an instruction nor an input; the row has {', '.join(row) or 'none'}")
    others = {name: value for name, value in row.items() if name not in _TAKEN}
    query_type = {"query_type": row["qtype"]} if "qtype" in row else {}
    return {**others, "prompt": prompt, "reference": row.get("output") or None, **query_type}
