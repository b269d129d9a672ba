"""Frozen linear layers in the block layout of the CPU's matrix kernels, for decoding.

A product with few rows spends its time on the weights, and laid out plainly they are read badly: with 16 rows and two
threads, float32 products of SmolLM2's shapes ran at 37 GFLOP/s, and at 59 in oneDNN's own layout. Products of many
rows gain nothing, so training passes keep the plain weights; sampling uses a second copy of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from proxygold.models.other_forward import other_forward

__all__ = ["MOST_BYTES", "can_pack_linears", "pack_linear", "packed_linear", "prepacked_linears"]

# Of weights to copy. Whoever samples from a larger model on a CPU needs the memory more.
MOST_BYTES = 2 * 2**30
_ROWS = 16  # the layout is chosen for about so many


def prepacked_linears(model: nn.Module) -> AbstractContextManager[None]:
    """Inside, the frozen linear layers of a model compute with copies of their weights; nothing where that would not
    help. Not for passes that need a gradient."""
    layers = _frozen_linears(model) if can_pack_linears(model) else []
    return other_forward([(layer, _packed_forward(layer)) for layer in layers])


def can_pack_linears(model: nn.Module) -> bool:
    """Whether this machine has the layout, and the frozen linear layers of `model` are small enough to be copied."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch._C._has_mkldnn:
        return False
    layers = _frozen_linears(model)
    return bool(layers) and sum(layer.weight.nbytes for layer in layers) <= MOST_BYTES


def pack_linear(weight: Tensor) -> Tensor:
    """The weight (out, in) of a linear layer in the layout for few rows."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _ROWS)
    return packed


def packed_linear(inputs: Tensor, packed: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, out) for inputs (…, in) and what `pack_linear` made."""
    outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
    return outputs


def _frozen_linears(model: nn.Module) -> list[nn.Linear]:
    return [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
        and not module.weight.requires_grad
    ]


def _packed_forward(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    packed = pack_linear(layer.weight)
    bias = None if layer.bias is None else layer.bias.detach()

    def forward(inputs: Tensor) -> Tensor:
        return packed_linear(inputs, packed, bias)

    return forward
