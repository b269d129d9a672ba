"""Which rows are held out of a training: by their first user turn, so that no prompt is on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

from proxygold.records import Message

__all__ = ["split_by_first_turn", "without_first_turns"]


class _HasPrompt(Protocol):
    @property
    def prompt(self) -> Sequence[Message]: ...


Item = TypeVar("Item", bound=_HasPrompt)


def split_by_first_turn(items: Sequence[Item], share: float) -> tuple[list[Item], list[Item]]:
    """What to train on and what to hold out, about `share` of the first turns.

    Decided by a hash of the first user turn: every answer to a prompt, and every continuation of a dialogue, falls on
    one side, and stays there whatever other items there are.
    """
    sides: tuple[list[Item], list[Item]] = ([], [])
    for item in items:
        sides[int.from_bytes(_first_turn_hash(item.prompt)[:4]) / 2**32 < share].append(item)
    return sides


def without_first_turns(held_out: Sequence[Item], items: Sequence[Item]) -> list[Item]:
    """The items whose first user turn nothing of `held_out` has."""
    taken = {_first_turn_hash(item.prompt) for item in held_out}
    return [item for item in items if _first_turn_hash(item.prompt) not in taken]


def _first_turn_hash(prompt: Sequence[Message]) -> bytes:
    """Equal for every answer to a prompt and every continuation of a dialogue: of the first user turn."""
    first = next((message["content"] for message in prompt if message["role"] == "user"), "")
    return hashlib.sha256(first.strip().lower().encode()).digest()
