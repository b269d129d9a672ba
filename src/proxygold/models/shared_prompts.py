"""Training passes over several responses to one prompt that read the prompt once.

    prompt | response 1 | response 2 | response 3          one row in place of three

Each response sees the prompt and itself, by a mask; its positions go on from the prompt's. The hidden states
are those of the separate rows, for fewer tokens: with 4 responses of 40 tokens to a prompt of 43, 199 in place
of 328.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from proxygold.models.causal_lm import attends_to_all
from proxygold.models.token_batch import TokenBatch

__all__ = ["PackedInputs", "can_pack", "pack", "unpack"]


@dataclass(frozen=True, slots=True)
class PackedInputs:
    """What the trunk takes for k prompts with r responses each; L = P + r (T - 1).

    `input_ids`, `position_ids`: (k, L). `attention_mask`: (k, 1, L, L), added to the attention scores.
    `frozen_hidden`: (k, L, d) or None.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    frozen_hidden: Tensor | None


def can_pack(config: Any) -> bool:
    """Whether a model takes such a mask for all its layers: full attention everywhere, and not by a fused kernel."""
    return attends_to_all(config) and config._attn_implementation in ("eager", "sdpa")


def pack(batch: TokenBatch, dtype: torch.dtype) -> PackedInputs:
    """Put the `batch.rows_per_prompt` rows of each prompt in one. `dtype` is the attention scores'."""
    repeats, width = batch.rows_per_prompt, batch.prompt_width
    valid = _join(batch.attention_mask[:, :-1], repeats, width)
    count, length = valid.shape
    place = torch.arange(length, device=valid.device)
    # 0 for the prompt, 1, 2, … for its responses, whose last token is no input
    segment = torch.where(place < width, 0, 1 + (place - width) // max(1, batch.response_mask.shape[1] - 1))
    causal = place[None, :] <= place[:, None]
    own = (segment[None, :] == 0) | (segment[None, :] == segment[:, None])
    seen = (causal & own)[None] & valid[:, None, :]
    # The smallest number rather than -inf: padding sees nothing at all, and the softmax of only -inf is not a number.
    mask = torch.zeros(count, 1, length, length, dtype=dtype, device=valid.device)
    mask.masked_fill_(~seen[:, None], torch.finfo(dtype).min)
    hidden = batch.frozen_hidden
    return PackedInputs(
        input_ids=_join(batch.input_ids[:, :-1], repeats, width),
        attention_mask=mask,
        position_ids=_join(batch.position_ids[:, :-1], repeats, width),
        frozen_hidden=None if hidden is None else _join(hidden, repeats, width),
    )


def unpack(hidden: Tensor, batch: TokenBatch) -> Tensor:
    """(n, T, d): the states from which each response token is predicted, from what the trunk gave, (k, L, d)."""
    repeats, width = batch.rows_per_prompt, batch.prompt_width
    size = hidden.shape[-1]
    # The first token of every response is predicted from the prompt's last.
    first = hidden[:, width - 1 : width, None].expand(-1, -1, repeats, -1).transpose(1, 2)
    rest = hidden[:, width:].reshape(len(hidden), repeats, -1, size)
    return torch.cat([first, rest], dim=2).flatten(0, 1)


def _join(rows: Tensor, repeats: int, width: int) -> Tensor:
    """(n, P + T - 1, …) to (n / repeats, P + repeats (T - 1), …): each prompt once, then all its responses."""
    responses = rows[:, width:].reshape(len(rows) // repeats, -1, *rows.shape[2:])
    return torch.cat([rows[::repeats, :width], responses], dim=1)
