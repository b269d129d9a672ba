"""Embeddings of texts that come again, remembered and shared: no text is encoded twice in one process.

All rewards with the same encoder share one memory, and threads that need the same text wait for the one that is
encoding it. What a text's embedding is does not depend on whether it was remembered: the encoder gives a text the same
vector whatever is encoded beside it, so a resumed run with a cold cache scores as the run that was interrupted would
have.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxygold.features.context import Embed
from proxygold.models.encoder import EncoderSettings, load_encoder

__all__ = ["EmbeddingCache", "SharedEmbeddings", "forget_embeddings", "shared_embeddings"]

# Prompts and references come back all through training. 384 dimensions: 50 MB; 768: 100 MB.
_KEPT = 32_768
# Completions come back when several rewards score the same answers: twice as many as are scored at a time.
_RECENT = 4_096

_Vector = NDArray[np.float32]


class EmbeddingCache:
    """The embeddings of the `capacity` texts used last. Safe for threads, which never encode the same text twice."""

    def __init__(self, embed: Embed, capacity: int = _KEPT) -> None:
        self._embed = embed
        self._capacity = capacity
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Vector] = OrderedDict()
        self._coming: dict[str, Future[_Vector]] = {}  # being encoded by some thread

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32 embeddings; only texts that are not remembered are encoded, each once.

        Raises what the encoder raises; nothing is remembered then.
        """
        if not texts:
            return self._embed(texts)
        found: dict[str, _Vector] = {}
        missing = list(dict.fromkeys(texts))
        while missing:
            own, others = self._claim(missing, found)
            # Its own first, so that no two threads wait for each other.
            if own:
                found.update(self._encode(own))
            missing = [text for text, coming in others.items() if not _take(text, coming, found)]
        return np.stack([found[text] for text in texts])

    def forget(self) -> None:
        """Remember nothing, as in a new process."""
        with self._lock:
            self._known.clear()

    def _claim(
        self, texts: list[str], found: dict[str, _Vector]
    ) -> tuple[dict[str, Future[_Vector]], dict[str, Future[_Vector]]]:
        """Put what is known into `found`; of the rest, what this thread is to encode and what others are encoding."""
        own: dict[str, Future[_Vector]] = {}
        others: dict[str, Future[_Vector]] = {}
        with self._lock:
            for text in texts:
                if text in self._known:
                    self._known.move_to_end(text)
                    found[text] = self._known[text]
                elif text in self._coming:
                    others[text] = self._coming[text]
                else:
                    own[text] = self._coming[text] = Future()
        return own, others

    def _encode(self, own: dict[str, Future[_Vector]]) -> dict[str, _Vector]:
        encoded: dict[str, _Vector] = {}
        try:
            # Copies: a row of the whole would keep the whole alive.
            encoded = {text: row.copy() for text, row in zip(own, self._embed(list(own)), strict=True)}
        finally:
            # Ctrl-C included: whoever waits must hear of it, and then encodes the text itself.
            with self._lock:
                self._known.update(encoded)
                while len(self._known) > self._capacity:
                    self._known.popitem(last=False)
                for text in own:
                    del self._coming[text]
            for text, coming in own.items():
                if text in encoded:
                    coming.set_result(encoded[text])
                else:
                    coming.cancel()
        return encoded


def _take(text: str, coming: Future[_Vector], found: dict[str, _Vector]) -> bool:
    """Wait for another thread's embedding of `text`; False when that thread failed."""
    try:
        found[text] = coming.result()
    except CancelledError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class SharedEmbeddings:
    """What all rewards with one encoder share: the embeddings of prompts and references, and of recent completions."""

    kept: EmbeddingCache
    recent: EmbeddingCache


_shared: dict[tuple[EncoderSettings, str | None], SharedEmbeddings] = {}
_sharing = threading.Lock()


def shared_embeddings(settings: EncoderSettings) -> SharedEmbeddings:
    """The caches for an encoder, the same in the whole process. The encoder is loaded at the first text.

    With `settings.cache`, embeddings of prompts and references are also written to a file in that directory, and
    found there by other processes.
    """
    with _sharing:
        key = (settings, settings.cache)  # settings that differ in `cache` alone are equal: they load one encoder
        if key not in _shared:
            embed = _Encoding(settings)
            kept = _Filed(embed, settings.cache) if settings.cache else embed
            _shared[key] = SharedEmbeddings(EmbeddingCache(kept, _KEPT), EmbeddingCache(embed, _RECENT))
        return _shared[key]


def forget_embeddings() -> None:
    """Forget every embedding in memory, of every encoder; files stay. For measuring a cold start."""
    with _sharing:
        for shared in _shared.values():
            shared.kept.forget()
            shared.recent.forget()


class _Encoding:
    """The encoder for some settings, loaded when it is first needed."""

    def __init__(self, settings: EncoderSettings) -> None:
        self.settings = settings

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return load_encoder(self.settings).embed(texts)


class _Filed:
    """Embeddings from a file where it has them; else encoded, then written there."""

    def __init__(self, embed: _Encoding, directory: str) -> None:
        self._embed = embed
        self._directory = Path(directory).expanduser()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        from proxygold.rewards.embedding_file import EmbeddingFile

        encoder = load_encoder(self._embed.settings)
        file = EmbeddingFile(self._directory, encoder.fingerprint, encoder.dimension)
        found = file.read(texts)
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            encoded = dict(zip(new, encoder.embed(new), strict=True))
            file.write(encoded)
            found.update(encoded)
        return np.stack([found[text] for text in texts]) if texts else encoder.embed(texts)
