"""RER on a real encoder: calibration, what is embedded, and scores that depend on nothing but their text."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from proxygold import Example, Reward, reward
from proxygold.models.encoder import load_encoder
from proxygold.rewards.embeddings import forget_embeddings, shared_embeddings

TOPICS = ["rivers", "bread", "chess", "planets", "violins", "bees", "glaciers", "printing"]
EXAMPLES = [
    Example(
        prompt=f"Tell me about {topic}.",
        completion=f"Much could be said of {topic}: " + f"they are known for {count} things, " * count,
        reference=f"A short account of {topic}.",
        query_type=("open_ended", "closed_ended")[count % 2],
    )
    for topic in TOPICS
    for count in range(1, 5)
]


@pytest.fixture(scope="module")
def rer() -> Reward:
    return reward("RER").calibrate(EXAMPLES)


def test_rer_is_measured_and_agrees_with_a_plain_transcription(rer: Reward) -> None:
    encoder = load_encoder(rer.settings.encoder)
    dots = {
        part: np.array([encoder.embed([text])[0] @ encoder.embed([e.completion])[0] for e, text in texts])
        for part, texts in {
            "QR": [(e, e.prompt) for e in EXAMPLES],
            "AR": [(e, e.reference) for e in EXAMPLES],
        }.items()
    }
    lexical = reward("LI * RP").score(EXAMPLES).parts
    li, rp = lexical["LI"], lexical["RP"]
    top, new_top = np.percentile(dots["AR"], 95), np.percentile(li * dots["QR"], 95)
    is_open = np.array([e.query_type == "open_ended" for e in EXAMPLES])
    expected = np.where(is_open, li * rp * dots["QR"], rp * np.maximum(dots["AR"], 0) / top * new_top)
    np.testing.assert_allclose(rer.score(EXAMPLES).total, expected, atol=1e-5)


def test_a_score_does_not_depend_on_its_neighbours_or_on_what_was_scored_before(rer: Reward) -> None:
    together = rer.score(EXAMPLES).total
    again = reward(str(rer))
    forget_embeddings()
    alone = np.array([again.score([example]).total[0] for example in reversed(EXAMPLES)])[::-1]
    assert together.tolist() == alone.tolist()


def test_threads_agree_with_one_thread(rer: Reward) -> None:
    expected = rer.score(EXAMPLES).total.tolist()
    fresh = reward(str(rer))
    forget_embeddings()
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda example: fresh.score([example]).total[0], EXAMPLES))
    assert got == expected


def test_prompts_and_references_are_encoded_once_over_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = reward("QR + AR")
    forget_embeddings()
    asked: list[str] = []
    kept = shared_embeddings(fresh.settings.encoder).kept
    inner = kept._embed
    monkeypatch.setattr(kept, "_embed", lambda texts: (asked.extend(texts), inner(texts))[1])
    for _ in range(3):
        fresh.score(EXAMPLES[:4])
    assert sorted(asked) == sorted({EXAMPLES[0].prompt, EXAMPLES[0].reference})


def test_the_reward_id_holds_the_encoder(rer: Reward) -> None:
    from dataclasses import replace

    settings = rer.settings.encoder
    same = reward("QR", encoder=settings).reward_id
    assert same == reward("QR").reward_id
    assert same != reward("QR", encoder=replace(settings, normalize=False)).reward_id
    assert same == reward("QR", encoder=replace(settings, batch_tokens=512)).reward_id, "changes no score"
