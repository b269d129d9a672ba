"""What a feature may use besides the examples: the words and sentences of a completion, and embeddings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from proxygold.features.word_batch import WordBatch
from proxygold.text import GENERIC_STOP_STRINGS, sentences, split_words, trim_at_stop

__all__ = ["Embed", "FeatureContext"]

# n texts to (n, d) float32.
Embed = Callable[[Sequence[str]], NDArray[np.float32]]

_log = logging.getLogger(__name__)


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
        self._words: dict[tuple[str, str], list[str]] = {}
        self._batches: dict[tuple[str, tuple[str, ...]], WordBatch] = {}
        self._sentences: dict[str, list[str]] = {}
        self._embeddings: dict[str, NDArray[np.float32]] = {}

    def trimmed(self, completion: str) -> str:
        """The completion up to its first stop string, stripped."""
        trimmed = self._trimmed.get(completion)
        if trimmed is None:
            trimmed = self._trimmed[completion] = trim_at_stop(completion, self.stop_strings)
        return trimmed

    def words(self, completion: str, kind: str = "wordpunct") -> list[str]:
        """The words of the trimmed completion, of one kind (see `proxygold.text`). Not to be changed by the caller."""
        if (kind, completion) not in self._words:
            self._words[kind, completion] = split_words(self.trimmed(completion), kind)
        return self._words[kind, completion]

    def word_batch(self, completions: Sequence[str], kind: str = "wordpunct") -> WordBatch:
        """The words of n trimmed completions as numbers: faster than `words` where only counts are needed.

        A text in a script without spaces is logged as a warning, once in each process, when `wordpunct` takes its
        clauses for words.
        """
        key = (kind, tuple(completions))
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = WordBatch([self.trimmed(completion) for completion in completions], kind)
            if batch.unspaced:
                _warn_of_unspaced()
        return batch

    def sentences(self, completion: str) -> list[str]:
        """The sentences of the trimmed completion (see `proxygold.text`). Not to be changed by the caller."""
        if completion not in self._sentences:
            self._sentences[completion] = sentences(self.trimmed(completion))
        return self._sentences[completion]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32 embeddings of `texts`, uncut; equal texts of a batch are encoded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._embeddings]
        if new:
            self._embeddings.update(zip(new, self._embed(new), strict=True))
        return np.stack([self._embeddings[text] for text in texts])


@cache
def _warn_of_unspaced() -> None:
    _log.warning(
        "a completion is in a script without spaces between words (such as Chinese, Japanese or Thai), and a whole "
        'clause of it counts as one word. Ask for words of its language with words="unicode", as in '
        'LI(words="unicode") * RP(words="unicode"). This is said once.'
    )
