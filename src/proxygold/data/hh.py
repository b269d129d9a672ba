r"""Anthropic's HH preference data (Bai et al. 2022), in its published form.

A row has two whole dialogues, `chosen` and `rejected`. Turns are set apart by `\n\nHuman:` and
`\n\nAssistant:`; the two agree up to the last assistant turn, which is what was compared. MIT licence,
https://github.com/anthropics/hh-rlhf.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxygold.errors import DataError
from proxygold.records import Message

__all__ = ["first_query", "from_hh", "parse_dialogue", "parse_hh"]

_MARKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLE = {"Human": "user", "Assistant": "assistant"}


def parse_dialogue(text: str) -> list[Message]:
    r"""A dialogue as messages, each stripped of the space around it.

    Neighbouring turns of the same speaker, which the data has, are joined by a blank line: chat templates
    want speakers to take turns. Raises DataError when there is no turn, or text before the first.

    >>> parse_dialogue("\n\nHuman: Hi.\n\nAssistant: Hello!")
    [{'role': 'user', 'content': 'Hi.'}, {'role': 'assistant', 'content': 'Hello!'}]
    """
    before, *turns = _MARKER.split(text)
    if before.strip() or not turns:
        raise DataError(r"a dialogue must start with '\n\nHuman:' and mark every turn '\n\nHuman:' or '\n\nAssistant:'")
    messages: list[Message] = []
    for speaker, content in zip(turns[::2], turns[1::2], strict=True):
        role, content = _ROLE[speaker], content.strip()
        if messages and messages[-1]["role"] == role:
            joined = f"{messages[-1]['content']}\n\n{content}".strip()
            messages[-1] = {"role": role, "content": joined}
        else:
            messages.append({"role": role, "content": content})
    return messages


def parse_hh(chosen: str, rejected: str) -> tuple[list[Message], str, str]:
    """The dialogue that two HH texts share, and the two last answers.

    Raises DataError when they do not end with an assistant turn, or differ before it: the published data
    has some such rows.
    """
    first, second = parse_dialogue(chosen), parse_dialogue(rejected)
    if first[-1]["role"] != "assistant" or second[-1]["role"] != "assistant":
        raise DataError("the last turn of both dialogues must be the assistant's")
    if first[:-1] != second[:-1]:
        raise DataError("the two dialogues differ before the last turn, so it is not one answer that is compared")
    if len(first) < 2:
        raise DataError("there is no human turn before the last answer")
    return first[:-1], first[-1]["content"], second[-1]["content"]


def from_hh(row: Mapping[str, Any]) -> dict[str, Any]:
    r"""The chosen dialogue of a row up to its last answer as `prompt`, and that answer as `reference`.

    This is what supervised fine-tuning learns from HH. Raises DataError for a dialogue without an answer.

    >>> from_hh({"chosen": "\n\nHuman: Hi.\n\nAssistant: Hello!", "rejected": "…"})
    {'prompt': [{'role': 'user', 'content': 'Hi.'}], 'reference': 'Hello!'}
    """
    messages = _chosen(row)
    return {**_others(row), "prompt": messages[:-1], "reference": messages[-1]["content"]}


def first_query(row: Mapping[str, Any]) -> dict[str, Any]:
    r"""The first turn of a row's chosen dialogue as `prompt`, as text, and the answer to it as `reference`.

    These are the queries that the paper's PPO trains on. Raises DataError as `from_hh` does.

    >>> first_query({"chosen": "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: And?\n\nAssistant: So."})
    {'prompt': 'Hi.', 'reference': 'Hello!'}
    """
    messages = _chosen(row)
    if messages[0]["role"] != "user" or not messages[0]["content"]:
        raise DataError("the dialogue does not begin with a query of the human's")
    return {**_others(row), "prompt": messages[0]["content"], "reference": messages[1]["content"]}


def _chosen(row: Mapping[str, Any]) -> list[Message]:
    chosen = row.get("chosen")
    if not isinstance(chosen, str):
        raise DataError(f"chosen must be a dialogue as text; the row has {', '.join(row) or 'none'}")
    messages = parse_dialogue(chosen)
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise DataError("the dialogue has no answer of the assistant's at its end, or nothing that it answers")
    if not messages[-1]["content"]:
        raise DataError("the last answer of the dialogue is empty")
    return messages


def _others(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("chosen", "rejected")}
