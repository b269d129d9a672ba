"""Preference pairs on their way into a training: which are held out, all of them as token ids, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxygold.data.preferences import PreferencePair
from proxygold.errors import DataError
from proxygold.training.held_out import split_by_first_turn, without_first_turns

__all__ = ["EncodedPairs", "PairOrder", "encode_pairs", "split_by_prompt", "without_prompts_of"]


def split_by_prompt(pairs: Sequence[PreferencePair], share: float) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Pairs to train on and pairs to hold out, about `share` of the prompts. Raises DataError when a side is empty."""
    sides = split_by_first_turn(pairs, share)
    if not sides[0] or not sides[1]:
        raise DataError(
            f"{len(pairs)} pairs cannot be split with {share:.0%} of the prompts held out: one side is empty. "
            "Give more pairs, or a file of pairs to hold out."
        )
    return sides


def without_prompts_of(held_out: Sequence[PreferencePair], pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The pairs whose first user turn no pair of `held_out` has. Raises DataError when none is left."""
    kept = without_first_turns(held_out, pairs)
    if pairs and not kept:
        raise DataError(
            f"all {len(pairs)} pairs to train on begin with the prompt of a held-out pair, so an accuracy would say "
            "nothing. Give other pairs to hold out, or none: then a share of the prompts is held out."
        )
    return kept


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """The pairs that the chat template takes, the token ids of their two answers, and the places of the others."""

    pairs: list[PreferencePair]
    ids: list[tuple[list[int], list[int]]]
    refused: list[str]


def encode_pairs(tokenizer: Any, pairs: Sequence[PreferencePair]) -> EncodedPairs:
    """Pairs as token ids; one that the chat template refuses is left out, with its place and the reason."""
    from proxygold.models.reward_inputs import encode_completion

    encoded = EncodedPairs([], [], [])
    for number, pair in enumerate(pairs, start=1):
        try:
            chosen, rejected = (
                encode_completion(tokenizer, list(pair.prompt), answer)["input_ids"]
                for answer in (pair.chosen, pair.rejected)
            )
        except DataError as error:
            encoded.refused.append(f"{pair.place or f'pair {number}'}: {error}")
        else:
            encoded.pairs.append(pair)
            encoded.ids.append((chosen, rejected))
    return encoded


class PairOrder:
    """The pairs' indices in the order of an epoch; those of one batch have about the same length.

    It depends on the seed and the epoch alone. Transformers' own sampler draws from torch's global generator, which a
    resumed training has seeded anew by the time it draws an order: it would get that of epoch 1, whichever it is in.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, steps_done: Callable[[], int]) -> None:
        """`steps_done` says after how many steps, of one batch each, the training stands."""
        self._lengths, self._batch_size, self._seed, self._steps_done = lengths, batch_size, seed, steps_done

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        import torch
        from transformers.trainer_pt_utils import get_length_grouped_indices

        epoch = self._steps_done() // math.ceil(len(self) / self._batch_size)
        generator = torch.Generator().manual_seed(int(np.random.default_rng([self._seed, epoch]).integers(2**62)))
        return iter(get_length_grouped_indices(self._lengths, self._batch_size, generator=generator))
