"""Texts of different lengths through one transformer pass without padding: laid end to end, each attending to itself.

On a CPU the time of a pass is that of its matrix products, and those of padding cost as much as those of text. Here
there is none: the linear layers see one row of tokens, and attention is computed text by text. The model's own forward
is used; only its attention is replaced, by the means that transformers has for it (`AttentionInterface`), so the
architectures are those that are tested to give what they give for each text alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["pack_attention", "packed_states"]

_NAME = "proxygold_packed"
# Encoders whose positions can be given, whose attention goes through the interface, and for which a test holds that
# packing changes nothing. Contriever, all-MiniLM, BGE, E5 and GTE are BERTs.
_ARCHITECTURES = ("bert", "camembert", "roberta", "xlm-roberta")
# A pass has a multiple of this many tokens: matrix products of few rows take other kernels, which round otherwise.
_ROWS = 16


def pack_attention(model: Any) -> bool:
    """Have `model`, a transformers encoder, attend within the texts of a pack; False where that is not supported.

    From then on it can be called by `packed_states` alone.
    """
    from transformers import AttentionInterface

    config = model.config
    if config.model_type not in _ARCHITECTURES or config.is_decoder or config.add_cross_attention:
        return False
    AttentionInterface.register(_NAME, _attention)
    model.set_attn_implementation(_NAME)
    return True


def packed_states(
    model: Any, encoded: Mapping[str, Sequence[Sequence[int]]], tokens: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """The number of each text and its last hidden states, (1, length, d), for n tokenized texts.

    `encoded` is a tokenizer's output without padding. A pass takes as many texts as fit into `tokens`, at least one.
    """
    lengths = [len(ids) for ids in encoded["input_ids"]]
    for rows in _packs(lengths, tokens):
        total = sum(lengths[row] for row in rows)
        filler = -total % _ROWS if total else _ROWS
        inputs = {
            name: _row([values[row] for row in rows], filler, model.device)
            for name, values in encoded.items()
            if name != "attention_mask"  # of ones: there is no padding
        }
        positions = [_positions(encoded["input_ids"][row], _first_position(model)) for row in rows]
        hidden = model(
            **inputs,
            position_ids=_row(positions, filler, model.device),
            pack_lengths=[lengths[row] for row in rows] + [filler] * (filler > 0),
        ).last_hidden_state
        start = 0
        for row in rows:
            yield row, hidden[:, start : start + lengths[row]]
            start += lengths[row]


def _packs(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    rows: list[int] = []
    total = 0
    for row, length in enumerate(lengths):
        if rows and total + length > tokens:
            yield rows
            rows, total = [], 0
        rows.append(row)
        total += length
    if rows:
        yield rows


def _row(parts: Sequence[Sequence[int]], filler: int, device: torch.device) -> torch.Tensor:
    values = np.concatenate([*parts, np.zeros(filler)], dtype=np.int64, casting="unsafe")
    return torch.from_numpy(values)[None].to(device)


def _first_position(model: Any) -> int | None:
    """None where positions count from 0; for RoBERTa and its kin the padding index, after which they begin."""
    padding: int | None = model.embeddings.position_embeddings.padding_idx
    return padding


def _positions(ids: Sequence[int], padding: int | None) -> Sequence[int]:
    if padding is None:
        return range(len(ids))
    # As RoBERTa counts: a padding token that a text spells out has no position.
    real = np.asarray(ids) != padding
    positions: list[int] = (np.cumsum(real) * real + padding).tolist()
    return positions


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    pack_lengths: list[int],
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Query, key and value are (1, heads, all tokens, size of a head); gives (1, all tokens, heads, size), as asked."""
    texts = zip(*(torch.split(states, pack_lengths, dim=2) for states in (query, key, value)), strict=True)
    attended = [torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in texts]
    return torch.cat([states.transpose(1, 2) for states in attended], dim=1), None
