"""From hidden states to logits, for chosen positions only.

A causal language model computes logits for every position, and a vocabulary's worth of them is most of the
memory of a pass. Here the last hidden states come first, and only those that predict a response token go on.

What goes on is the output layer, and in some models a cap or a scale after it (Gemma 2, Cohere, Granite). Such
a model's own forward is then called around the given states, so that its logits stay its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from proxygold.errors import ModelError
from proxygold.models.other_forward import other_forward

__all__ = ["Projection", "find_projection"]

Projection = Callable[[Tensor], Tensor]


@torch.no_grad()
def find_projection(name: str, model: Any) -> Projection:
    """What makes logits (m, V) of hidden states (m, d) as `model` does.

    Tried on a few tokens against the model's own logits. `name` is for the message. Raises ModelError when the logits
    depend on more than the last hidden states.
    """
    ids = torch.arange(4, device=model.device)[None, :]
    expected = model(input_ids=ids, use_cache=False).logits[0]
    output = model.base_model(input_ids=ids, use_cache=False)
    hidden = output.last_hidden_state[0]
    head: Projection | None = model.get_output_embeddings()
    own = _OwnForward(model, type(output))
    own_is_right = _same(own, hidden, expected)
    # On larger states too: a cap does next to nothing to the small logits of an untrained model.
    if (
        head is not None
        and _same(head, hidden, expected)
        and (not own_is_right or _same(head, hidden * 16, own(hidden * 16)))
    ):
        return head
    if own_is_right:
        return own
    raise ModelError(
        f"the logits of {name!r} ({type(model).__name__}) cannot be computed from its last hidden states alone, as "
        "training does to save memory. Use another causal language model."
    )


def _same(projection: Projection, hidden: Tensor, expected: Tensor) -> bool:
    try:
        logits = projection(hidden)
    except Exception:  # noqa: BLE001 - whatever a model's code makes of it: this is not the way to its logits
        return False
    # Two paths of bfloat16 differ by this much in rounding.
    return torch.allclose(logits.float(), expected.float(), rtol=1e-2, atol=1e-2)


class _OwnForward:
    """The model's own forward, whose trunk gives out the hidden states that are put in."""

    def __init__(self, model: Any, output_type: type) -> None:
        self._model = model
        self._output_type = output_type

    def __call__(self, hidden: Tensor) -> Tensor:
        trunk = self._model.base_model
        given = self._output_type(last_hidden_state=hidden[None])
        with other_forward([(trunk, lambda *_arguments, **_keywords: given)]):
            ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
            logits: Tensor = self._model(input_ids=ids, use_cache=False).logits[0]
        return logits
