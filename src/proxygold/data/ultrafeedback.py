"""UltraFeedback (Cui et al. 2023): instructions with four answers each, scored by GPT-4. MIT licence.

Two published forms are read. The original, https://huggingface.co/datasets/openbmb/UltraFeedback: `instruction`, and
`completions` with `model`, `response` and `overall_score`. The pairs, ultrafeedback_binarized of HuggingFaceH4: with
`chosen` as messages. The reference is the best answer, the first of those with the highest score, or the chosen one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxygold.errors import DataError

__all__ = ["from_ultrafeedback"]

_LEFT_OUT = ("instruction", "completions", "chosen", "rejected", "messages", "prompt_id")


def from_ultrafeedback(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with `prompt` and `reference`, None where no answer has a score. Raises DataError for any other form.

    >>> scored = [{"response": "a", "overall_score": 4.0}, {"response": "b", "overall_score": 8.5}]
    >>> from_ultrafeedback({"source": "x", "instruction": "Say it.", "completions": scored})
    {'source': 'x', 'prompt': 'Say it.', 'reference': 'b'}
    """
    others = {name: value for name, value in row.items() if name not in _LEFT_OUT}
    if isinstance(row.get("completions"), Sequence) and isinstance(row.get("instruction"), str):
        return {**others, "prompt": row["instruction"], "reference": _best(row["completions"])}
    chosen = row.get("chosen")
    if isinstance(chosen, Sequence) and len(chosen) > 1 and all(isinstance(turn, Mapping) for turn in chosen):
        identity = {} if row.get("prompt_id") is None else {"id": row["prompt_id"]}
        return {**others, **identity, "prompt": list(chosen[:-1]), "reference": chosen[-1].get("content")}
    raise DataError(
        f"this is no row of UltraFeedback: that has instruction and completions, or chosen as messages; "
        f"the row has {', '.join(row) or 'none'}"
    )


def _best(completions: Sequence[Any]) -> str | None:
    scored = [
        (float(answer["overall_score"]), answer["response"])
        for answer in completions
        if isinstance(answer, Mapping)
        and isinstance(answer.get("response"), str)
        and isinstance(answer.get("overall_score"), int | float)
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None
