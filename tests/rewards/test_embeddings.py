"""Embeddings that are remembered: no text twice, whoever asks, and what happens when the encoder fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from proxygold import Example, reward
from proxygold.models.encoder import Encoder, EncoderSettings, load_encoder
from proxygold.rewards.embeddings import EmbeddingCache, forget_embeddings, shared_embeddings


class Letters:
    """Counts a and b, and keeps what it was asked; `before` runs first, where a test holds it up or breaks it."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.asked: list[str] = []
        self._before = before

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        self._before()
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32).reshape(-1, 2)


def test_each_text_is_encoded_once_and_rows_come_in_the_order_asked() -> None:
    letters = Letters()
    cache = EmbeddingCache(letters)
    assert cache(["aab", "b", "aab"]).tolist() == [[2, 1], [0, 1], [2, 1]]
    assert cache(["b", "abb"]).tolist() == [[0, 1], [1, 2]]
    assert letters.asked == ["aab", "b", "abb"]
    assert cache([]).shape == (0, 2)


def test_the_texts_used_longest_ago_are_forgotten() -> None:
    letters = Letters()
    cache = EmbeddingCache(letters, capacity=2)
    cache(["a", "b"])
    cache(["a"])  # now b is the oldest
    cache(["ab"])
    cache(["a", "ab"])
    assert letters.asked == ["a", "b", "ab"]
    cache(["b"])
    assert letters.asked == ["a", "b", "ab", "b"]
    # More at once than it holds: all are answered.
    assert cache(["aa", "bb", "aabb"]).tolist() == [[2, 0], [0, 2], [2, 2]]


def test_what_is_remembered_is_a_copy() -> None:
    cache = EmbeddingCache(Letters())
    first = cache(["ab"])
    first[:] = 7
    assert cache(["ab"]).tolist() == [[1, 1]]


def test_threads_that_need_one_text_encode_it_once() -> None:
    started, release = threading.Event(), threading.Event()

    def before() -> None:
        started.set()
        release.wait(10)

    letters = Letters(before)
    cache = EmbeddingCache(letters)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(cache, ["aa", "bb"])
        assert started.wait(10)
        # Both need a text that the first is encoding; the second needs one of its own as well.
        waiting = [pool.submit(cache, ["bb", "ab"]), pool.submit(cache, ["bb"])]
        time.sleep(0.1)
        assert not any(future.done() for future in waiting)
        release.set()
        assert first.result(10).tolist() == [[2, 0], [0, 2]]
        assert [future.result(10).tolist() for future in waiting] == [[[0, 2], [1, 1]], [[0, 2]]]
    assert sorted(letters.asked) == ["aa", "ab", "bb"]


def test_many_threads_over_overlapping_texts_neither_hang_nor_encode_twice() -> None:
    letters = Letters()
    cache = EmbeddingCache(letters)
    texts = ["a" * n + "b" * (n % 7) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        # Each thread in an order of its own, in pieces that overlap the others'.
        futures = [
            pool.submit(lambda step=step: [cache(texts[start : start + 50]) for start in range(0, 151, step)])
            for step in (1, 3, 7, 10, 25, 30, 50, 5)
        ]
        for future in futures:
            future.result(30)
    assert sorted(letters.asked) == sorted(texts)


def test_when_the_encoder_fails_nothing_is_remembered_and_whoever_waited_tries_itself() -> None:
    started, release = threading.Event(), threading.Event()
    failures = iter([True, False])

    def before() -> None:
        started.set()
        release.wait(10)
        if next(failures):
            raise MemoryError("no room")

    cache = EmbeddingCache(Letters(before))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache, ["ab"])
        assert started.wait(10)
        second = pool.submit(cache, ["ab"])
        time.sleep(0.1)
        release.set()
        with pytest.raises(MemoryError, match="no room"):
            first.result(10)
        assert second.result(10).tolist() == [[1, 1]]


# --- shared by rewards ------------------------------------------------------------------------------------------------

EXAMPLES = [
    Example("Where is Oslo?", "In Norway.", reference="Norway"),
    Example("Where is Lima?", "In Peru, on the coast.", reference="Peru"),
]


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every text that an encoder embeds, from a cold start."""
    texts: list[str] = []
    embed = Encoder.embed

    def noted(self: Encoder, asked: Sequence[str]) -> np.ndarray:
        texts.extend(asked)
        return embed(self, asked)

    monkeypatch.setattr(Encoder, "embed", noted)
    forget_embeddings()
    yield texts
    forget_embeddings()


def test_rewards_with_one_encoder_share_what_they_embedded(embedded: list[str]) -> None:
    first, second = reward("QR"), reward("QR * (1 + AR)")
    first.score(EXAMPLES)
    second.score(EXAMPLES)
    # Prompts and completions by the first, references by the second.
    assert sorted(embedded) == sorted(
        text for example in EXAMPLES for text in (example.prompt, example.completion, example.reference)
    )
    reward("QR", encoder=EncoderSettings(normalize=False)).score(EXAMPLES[:1])
    assert len(embedded) == 8  # another encoder, whose vectors are its own


def test_new_completions_are_all_that_a_training_step_embeds(embedded: list[str]) -> None:
    made = reward("QR * AR")
    made.score(EXAMPLES)
    del embedded[:]
    answers = ["In Europe.", "In South America."]
    made.score(
        [Example(row.prompt, text, reference=row.reference) for row, text in zip(EXAMPLES, answers, strict=True)]
    )
    assert embedded == answers


def test_a_score_is_the_same_from_memory(embedded: list[str]) -> None:
    made = reward("QR * AR")
    cold = made.score(EXAMPLES).total.tolist()
    assert made.score(EXAMPLES).total.tolist() == cold
    assert len(embedded) == 6
    forget_embeddings()
    assert made.score(EXAMPLES[::-1]).total.tolist() == cold[::-1]
    assert len(embedded) == 12


def test_a_reward_that_needs_no_encoder_loads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxygold.rewards.embeddings.load_encoder", lambda settings: pytest.fail("loaded"))
    assert reward("LI * RP", encoder="no/such-model").score(EXAMPLES).total.tolist() == [0.03, 0.07]


def test_the_shared_caches_are_those_of_the_settings() -> None:
    settings = EncoderSettings(normalize=False)
    assert shared_embeddings(settings) is shared_embeddings(EncoderSettings(normalize=False))
    assert shared_embeddings(settings) is not shared_embeddings(EncoderSettings(normalize=True))
    # A directory changes no embedding: one loaded encoder, but caches of their own.
    filed = EncoderSettings(normalize=False, cache="somewhere")
    assert filed == settings
    assert load_encoder(filed) is load_encoder(settings)
    assert shared_embeddings(filed) is not shared_embeddings(settings)
