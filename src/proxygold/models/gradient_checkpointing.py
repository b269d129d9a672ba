"""Gradient checkpointing: a layer keeps what enters it, and the backward pass computes its inside again.

Memory of a training pass then grows with layers x tokens x hidden size, and not with what attention and the
feed-forward network of every layer keep; the price is one more forward pass. transformers has the same, but for
modules in training mode only, which would turn on the model's own dropout, that a policy never has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["checkpoint_layers"]


def checkpoint_layers(layers: Iterable[nn.Module]) -> None:
    """Make these layers compute their inside again in every backward pass from now on.

    Random numbers (of an adapter's dropout) are the same the second time. Passes without gradients, such as sampling,
    are as before.
    """
    for layer in layers:
        layer.forward = _checkpointed(layer.forward)


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **keywords)
        return checkpoint(forward, *arguments, use_reentrant=False, **keywords)

    return call
