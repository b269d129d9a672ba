"""Embeddings of texts that come again and again, remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxygold.features.context import Embed

__all__ = ["EmbeddingCache"]

# 384 dimensions: 50 MB; 768: 100 MB.
DEFAULT_CAPACITY = 32_768


class EmbeddingCache:
    """The embeddings of the prompts and references used last, safe for threads.

    What a text's embedding is does not depend on whether it was here: the encoder gives a text the same
    vector whatever is encoded beside it, so a resumed run with a cold cache scores as the run that was
    interrupted would have.
    """

    def __init__(self, embed: Embed, capacity: int = DEFAULT_CAPACITY) -> None:
        self._embed = embed
        self._capacity = capacity
        self._lock = threading.Lock()
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32 embeddings; only texts that are not remembered are encoded, each once."""
        found: dict[str, NDArray[np.float32]] = {}
        with self._lock:
            for text in dict.fromkeys(texts):
                if text in self._known:
                    self._known.move_to_end(text)
                    found[text] = self._known[text]
        # Encoded outside the lock: two threads may encode the same text, and get the same vector.
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            encoded = dict(zip(new, self._embed(new), strict=True))
            found.update(encoded)
            with self._lock:
                self._known.update(encoded)
                while len(self._known) > self._capacity:
                    self._known.popitem(last=False)
        return np.stack([found[text] for text in texts])
