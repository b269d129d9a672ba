"""The layers below the lowest adapted one: computed once, then skipped.

When LoRA sits on the upper layers only, what enters the lowest of them is the same in every pass over a
rollout: for the policy, for the reference, in every epoch. Sampling computes it anyway. `capture` keeps it and
`replay` puts it back, which saves the lower layers' share of each pass. Any decoder whose layers pass a hidden
state on works; the model's own code runs unchanged around it (masks, positions, norms).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from proxygold.models.other_forward import other_forward

__all__ = ["FrozenPrefix"]


class FrozenPrefix:
    """The first `depth` of a decoder's `layers`. With depth 0 there is nothing to skip."""

    def __init__(self, layers: nn.ModuleList, depth: int) -> None:
        self.depth = depth
        self._layers = list(layers[:depth])
        self._returns_tuple = False

    @contextmanager
    def capture(self) -> Iterator[list[Tensor]]:
        """Inside, every pass through the model adds what left the last frozen layer, (n, tokens, d), to the list."""
        captured: list[Tensor] = []
        if not self.depth:
            yield captured
            return

        def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
            self._returns_tuple = isinstance(output, tuple)
            captured.append((output[0] if self._returns_tuple else output).detach())

        handle = self._layers[-1].register_forward_hook(keep)
        try:
            yield captured
        finally:
            handle.remove()

    @contextmanager
    def replay(self, hidden: Tensor | None) -> Iterator[None]:
        """Inside, `hidden` (n, tokens, d) stands for the frozen layers, which are not computed. None: they are."""
        if hidden is None or not self.depth:
            yield
            return
        if torch.is_inference(hidden):
            raise ValueError("hidden states captured in inference mode cannot be trained on; use torch.no_grad()")

        def forward(*_arguments: Any, **_keywords: Any) -> Any:
            return (hidden,) if self._returns_tuple else hidden

        with other_forward((layer, forward) for layer in self._layers):
            yield
