"""How many answers a second, short and long, with new texts and with known ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from proxygold.records import Example
from proxygold.rewards.checks.finding import Outcome, ok, warn
from proxygold.rewards.checks.subject import Subject
from proxygold.rewards.embeddings import forget_embeddings

__all__ = ["throughput"]

_SHORT, _LONG = 20, 300  # words
_MOST = 512
_SLOW = 10.0


def throughput(subject: Subject) -> Outcome:
    """Answers scored a second. Cold: their texts are new; warm: all were scored before."""
    rates = {}
    for kind, words in (("short", _SHORT), ("long", _LONG)):
        count = max(4, min(_MOST, int(1.0 / max(subject.row_seconds * (3 if words == _LONG else 1), 1e-9))))
        examples = _answers(subject.examples, count, words)
        forget_embeddings()
        rates[kind] = [_rate(subject, examples) for _ in ("cold", "warm")]
    seen = "; ".join(f"{kind} answers {_told(cold)}/s cold, {_told(warm)} warm" for kind, (cold, warm) in rates.items())
    seen += f"; the first score took {subject.loading:.1f} s"
    if (slow := rates["short"][0]) < _SLOW:
        remedy = "A GPU or a smaller model; a feature of your own can score many at once: a class with score(examples)."
        return warn(f"{seen}; a batch of 64 short ones would wait {64 / slow:.0f} s", remedy)
    return ok(seen)


def _rate(subject: Subject, examples: Sequence[Example]) -> float:
    start = time.perf_counter()
    subject.reward.score(examples)
    return len(examples) / (time.perf_counter() - start)


def _answers(examples: Sequence[Example], count: int, words: int) -> list[Example]:
    """Answers of so many words, made of the words of the ordinary ones, no two alike."""
    pool = [word for example in examples for word in example.completion.split()] or ["word"]
    made = []
    for i in range(count):
        start = i * 17
        text = " ".join([str(i), *(pool[(start + step) % len(pool)] for step in range(words - 1))])
        made.append(replace(examples[i % len(examples)], completion=text))
    return made


def _told(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
