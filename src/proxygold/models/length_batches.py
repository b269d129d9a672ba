"""Which texts share a forward pass, so that a text's value does not depend on what stands beside it.

A text is padded to a length that depends on its own length alone, and only texts padded to one length share a pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["length_batches", "length_groups", "positions_of"]


def length_batches(lengths: Mapping[int, int], limit: int, batch_tokens: int | None) -> Iterator[tuple[int, list[int]]]:
    """Padded length and row numbers of each pass, for rows with so many tokens each; `limit` is the longest.

    A pass has at most `batch_tokens` tokens, padding included, or a single row; with None each row has a pass of its
    own and is not padded. The longest come first: memory runs out at once or never.

    >>> list(length_batches({0: 3, 1: 20, 2: 8}, limit=20, batch_tokens=16))
    [(20, [1]), (8, [0, 2])]
    >>> list(length_batches({0: 3, 1: 20}, limit=20, batch_tokens=None))
    [(20, [1]), (3, [0])]
    """
    if batch_tokens is None:
        yield from ((length, [row]) for row, length in sorted(lengths.items(), key=lambda item: -item[1]))
        return
    for padded, rows in length_groups(lengths, limit):
        size = max(1, batch_tokens // padded)
        for start in range(0, len(rows), size):
            yield padded, rows[start : start + size]


def length_groups(lengths: Mapping[int, int], limit: int) -> list[tuple[int, list[int]]]:
    """All rows of each padded length, the longest first."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for row, length in lengths.items():
        by_length[min(_padded_length(length), limit)].append(row)
    return sorted(by_length.items(), reverse=True)


def _padded_length(length: int) -> int:
    """Few enough lengths for texts to share passes, close enough for little padding."""
    step = 8 if length <= 128 else 32
    return -(-length // step) * step


def positions_of(config: Any) -> int | None:
    """How many tokens a model has positions for; None where its configuration says nothing of it."""
    text = config.get_text_config()
    positions: int | None = getattr(text, "max_position_embeddings", None)
    if positions is not None and "roberta" in text.model_type:
        positions -= text.pad_token_id + 1  # RoBERTa and its kin count positions from the one after the padding index
    return positions
