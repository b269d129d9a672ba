"""ShareGPT: conversations that people had with ChatGPT and shared, cleaned by the basic rules of FastChat.

A row has `id` and `conversations`, turns with `from` (human, gpt, …) and `value`. The file that is read from the hub,
https://huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered, holds Markdown already, split into
parts of at most 2,048 tokens. FastChat's rules (fastchat/data/clean_sharegpt.py, as of 2023) that are left to do:

- turns before the first of the human's and after the last answer go; then human and gpt must take turns
- a conversation in which OpenAI or ChatGPT is named goes
- what the page put into answers goes: "2 / 3" at their start, "Copy code", "Copy123 chars / 20 words"
- of conversations with the same id, or of the same length with the same first answer, the first stays

One with an empty turn goes too, which is our own rule: it could not be asked, or learnt from. FastChat's conversion
from HTML is not done: a raw dump of pages must be converted first.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from proxygold.errors import DataError
from proxygold.records import Message

__all__ = ["clean_turn", "from_sharegpt", "sharegpt_key"]

_ROLES = ("human", "gpt")
_BLOCKED = ("openai", "chatgpt")
_CODE = re.compile(r"```\s*(.*?)(?:Copy code)+(.+?)\s*?```", re.DOTALL)
_EMPTY_CODE = re.compile(r"```(.*?)Copy code\s*```")
_VERSION = re.compile(r"\A\d+ / \d+")
_COUNTS = re.compile(r"Copy\d+ chars / \d+ words")


def from_sharegpt(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the conversation up to its last answer as `prompt`, and that answer as `reference`.

    Raises DataError for a conversation that FastChat's rules leave out, with the rule.
    """
    turns = row.get("conversations")
    if not isinstance(turns, Sequence) or not all(
        isinstance(turn, Mapping) and isinstance(turn.get("value"), str) for turn in turns
    ):
        raise DataError(f"conversations must be a list of turns with from and value; the row has {', '.join(row)}")
    turns = list(turns)
    if turns and turns[0].get("from") != "human":
        turns = turns[1:]
    if turns and turns[-1].get("from") == "human":
        turns = turns[:-1]
    if len(turns) < 2:
        raise DataError("the conversation is too short: no query with an answer")
    messages: list[Message] = []
    for number, turn in enumerate(turns):
        if turn.get("from") != _ROLES[number % 2]:
            raise DataError(f"human and gpt do not take turns: turn {number + 1} is from {turn.get('from')!r}")
        if blocked := next((word for word in _BLOCKED if word in turn["value"].lower()), None):
            raise DataError(f"the conversation names {blocked}")
        messages.append({"role": ("user", "assistant")[number % 2], "content": clean_turn(turn["value"])})
        if not messages[-1]["content"]:
            raise DataError(f"turn {number + 1} is empty")
    identity = {} if row.get("id") is None else {"id": row["id"]}
    return {**identity, "prompt": messages[:-1], "reference": messages[-1]["content"]}


def clean_turn(text: str) -> str:
    r"""A turn without what the page had put into it.

    >>> clean_turn("2 / 2\n\nRun:\n```pythonCopy codeprint(1)\n```")
    'Run:\n```python\nprint(1)\n```'
    """
    text = text.strip()
    has_button = "Copy code" in text  # few have, and to look for the ends of code costs time
    if has_button:
        text = _CODE.sub(r"```\1\n\2\n```", text)
    text = _COUNTS.sub("", _VERSION.sub("", text))
    if has_button:
        text = _EMPTY_CODE.sub("", text)
    return text.replace("\n\n\n", "\n").strip()


def sharegpt_key(row: Mapping[str, Any]) -> Hashable:
    """What two conversations share of which FastChat takes one for a copy: the first answer, and how many turns."""
    conversation = [*(turn["content"] for turn in row["prompt"]), row["reference"]]
    return conversation[1], len(conversation)
