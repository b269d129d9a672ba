"""What a feature may use besides the examples: the words of a completion, and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from proxygold.text import GENERIC_STOP_STRINGS, trim_at_stop, words

__all__ = ["Embed", "FeatureContext"]

# n texts to (n, d) float32.
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def _no_encoder(texts: Sequence[str]) -> NDArray[np.float32]:
    raise NotImplementedError("this context was made without an encoder")


class FeatureContext:
    """Shared by all features that score one batch, so that no text is trimmed, split or embedded twice.

    `embed` encodes texts, and is called only by a feature that needs it: `LI * RP` never loads an encoder.
    `embed_kept` does the same for texts that come again and again (prompts, references) and may remember
    them.
    """

    def __init__(
        self,
        stop_strings: Sequence[str] = GENERIC_STOP_STRINGS,
        embed: Embed = _no_encoder,
        embed_kept: Embed | None = None,
    ) -> None:
        self.stop_strings = tuple(stop_strings)
        self.embed_kept = embed_kept or embed
        self._embed = embed
        self._trimmed: dict[str, str] = {}
        self._words: dict[str, list[str]] = {}
        self._embeddings: dict[str, NDArray[np.float32]] = {}

    def trimmed(self, completion: str) -> str:
        """The completion up to its first stop string, stripped."""
        if completion not in self._trimmed:
            self._trimmed[completion] = trim_at_stop(completion, self.stop_strings)
        return self._trimmed[completion]

    def words(self, completion: str) -> list[str]:
        """The words of the trimmed completion (see `proxygold.text`). Not to be changed by the caller."""
        if completion not in self._words:
            self._words[completion] = words(self.trimmed(completion))
        return self._words[completion]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32 embeddings of `texts`, uncut; equal texts of a batch are encoded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._embeddings]
        if new:
            self._embeddings.update(zip(new, self._embed(new), strict=True))
        return np.stack([self._embeddings[text] for text in texts])
