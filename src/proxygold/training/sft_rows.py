"""Demonstrations on their way into training: as token ids with labels, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from proxygold.data.demonstrations import Demonstration
from proxygold.errors import DataError
from proxygold.models.prompt_tokens import PromptTokens
from proxygold.records import Message
from proxygold.training.held_out import without_first_turns

__all__ = ["IGNORED", "EncodedRows", "Row", "RowOrder", "collate", "encode_rows", "without_prompts"]

IGNORED = -100
"""The label of a token that is not learned."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence. `labels` are its `ids` where they are to be learned, else `IGNORED`."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows that fit, how many demonstrations have one that is too long, and those the template refuses."""

    rows: list[Row]
    too_long: int
    refused: list[str]


def encode_rows(
    tokens: PromptTokens,
    demonstrations: Sequence[Demonstration],
    ends: frozenset[int],
    *,
    learn: Literal["last", "all"] = "last",
    max_length: int,
) -> EncodedRows:
    """Demonstrations as rows. `ends` are the model's end-of-sequence tokens, one of which closes each answer.

    A demonstration is left out whole when one of its rows has more than `max_length` tokens.
    """
    encoded = EncodedRows([], 0, [])
    too_long = 0
    for number, demonstration in enumerate(demonstrations, start=1):
        try:
            rows = _rows(tokens, demonstration, ends, learn)
        except DataError as error:
            encoded.refused.append(f"{demonstration.place or f'row {number}'}: {error}")
            continue
        if any(len(row.ids) > max_length for row in rows):
            too_long += 1
        else:
            encoded.rows.extend(rows)
    return EncodedRows(encoded.rows, too_long, encoded.refused)


def _rows(
    tokens: PromptTokens, demonstration: Demonstration, ends: frozenset[int], learn: Literal["last", "all"]
) -> list[Row]:
    """One row; under `all`, a new one for each answer whose prompt does not go on from the row before.

    It does where the template closes every answer as it is sampled, with an end-of-sequence token (ChatML, Vicuna).
    Where it does not (HH), an answer that is part of a prompt has no such token, and one that is learned has.
    """
    messages: list[Message] = [*demonstration.prompt, {"role": "assistant", "content": demonstration.answer}]
    last = len(messages) - 1
    rows: list[Row] = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant" or place == 0 or (learn == "last" and place < last):
            continue
        prompt, answer = tokens.encode_answered(messages[:place], message["content"], ends)
        goes_on = bool(rows) and prompt[: len(rows[-1].ids)] == rows[-1].ids
        known = rows.pop() if goes_on else Row([], [])
        between = len(prompt) - len(known.ids)
        rows.append(Row([*prompt, *answer], [*known.labels, *([IGNORED] * between), *answer]))
    return rows


def without_prompts(held_out: Sequence[Demonstration], items: Sequence[Demonstration]) -> list[Demonstration]:
    """The items whose first user turn nothing of `held_out` has. Raises DataError when none is left."""
    kept = without_first_turns(held_out, items)
    if items and not kept:
        raise DataError(
            f"all {len(items)} rows to train on begin with a prompt that is held out, so the loss on those would say "
            "nothing. Give other rows to hold out, or none."
        )
    return kept


def collate(rows: Sequence[dict[str, list[int]]], pad_token_id: int) -> dict[str, Any]:
    """Rows of `input_ids` and `labels`, padded on the right to (n, T). The mask comes from lengths: an
    end-of-sequence token may pad too.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[int], value: int) -> list[int]:
        return [*values, *([value] * (longest - len(values)))]

    return {
        "input_ids": torch.tensor([padded(row["input_ids"], pad_token_id) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows]),
        "labels": torch.tensor([padded(row["labels"], IGNORED) for row in rows]),
    }


class RowOrder:
    """The rows' indices in the order of an epoch: drawn anew for each, then sorted by length inside every step.

    A step has the rows that it drew, and its passes little padding. The order depends on the seed and the epoch
    alone; transformers' own sampler would give a resumed training another one.
    """

    def __init__(self, lengths: Sequence[int], per_step: int, seed: int, steps_done: Callable[[], int]) -> None:
        """`per_step`: rows of a step, on all devices. `steps_done` says after how many the training stands."""
        self._lengths, self._per_step, self._seed, self._steps_done = lengths, per_step, seed, steps_done

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        epoch = self._steps_done() // -(-len(self) // self._per_step)
        drawn = np.random.default_rng([self._seed, epoch]).permutation(len(self)).tolist()
        for start in range(0, len(self), self._per_step):
            yield from sorted(drawn[start : start + self._per_step], key=lambda index: -self._lengths[index])
