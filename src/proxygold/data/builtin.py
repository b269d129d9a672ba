"""The built-in prompts: our own, short, over a dozen domains, each with a reference answer and its query type.

Half ask for something open-ended and half have an answer that is settled. They are what `proxygold demo`
trains and validates on; the two splits share no prompt.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Literal, get_args

from proxygold.data.rows import prompt_from_row
from proxygold.errors import DataError
from proxygold.records import PromptRecord

__all__ = ["Split", "builtin_prompts"]

Split = Literal["train", "validation"]


def builtin_prompts(split: Split = "train") -> list[PromptRecord]:
    """The prompts of one split, in the file's order, with their `domain` in `columns`.

    >>> prompts = builtin_prompts("validation")
    >>> len(prompts) >= 64, {prompt.query_type for prompt in prompts} == {"open_ended", "closed_ended"}
    (True, True)
    """
    if split not in get_args(Split):
        raise DataError(f"the built-in prompts have no split {split!r}. Allowed: {', '.join(get_args(Split))}.")
    records = []
    for line in files("proxygold.data").joinpath("builtin_prompts.jsonl").read_text("utf-8").splitlines():
        values = json.loads(line)
        if values.pop("split") == split:
            records.append(prompt_from_row(values, default_id=""))
    return records
