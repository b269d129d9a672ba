"""A key-value cache with room to grow.

transformers' own copies everything it holds for every token and layer: a tenth of the time of sampling on a CPU
(16 rows, 48 tokens). This one writes into space set aside before. Layers of other kinds (sliding windows,
recurrent states) keep what transformers gives them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["decoding_cache"]


def decoding_cache(config: Any, capacity: int) -> DynamicCache:
    """An empty cache for a model of `config`, with room for `capacity` tokens a row (it grows when there are more).

    For decoding under `torch.no_grad` only: what it holds is written over.
    """
    cache = DynamicCache(config=config)
    cache.layers = [_RoomyLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers carries no types
    """`keys` and `values`, (rows, heads, tokens, size) each, are views of the filled part of a buffer."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._buffers: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *_arguments: Any, **_keywords: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if not self._buffers or total > self._buffers[0].shape[-2]:
            room = max(self._capacity, total)
            self._buffers = [
                _with_room(held, new, length, room)
                for held, new in ((self.keys, key_states), (self.values, value_states))
            ]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., length:total, :] = new
        self._show(total)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        rows = torch.arange(len(self._buffers[0]) if self._buffers else 0, device=self.device)
        self.batch_select_indices(rows.repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        length = self.get_seq_length()
        if length:
            self._buffers = [buffer[indices] for buffer in self._buffers]
            self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[..., :length, :] for buffer in self._buffers)


def _with_room(held: Tensor, new: Tensor, length: int, room: int) -> Tensor:
    """Space for `room` tokens, in the shape of `new` otherwise, that begins with the `length` tokens of `held`."""
    buffer = new.new_empty((*new.shape[:-2], room, new.shape[-1]))
    if length:
        buffer[..., :length, :] = held
    return buffer
