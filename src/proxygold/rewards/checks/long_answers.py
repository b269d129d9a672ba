"""Answers of 100,000 characters, of several kinds: they have a score, in time that grows as the text does."""

from __future__ import annotations

import time
from collections.abc import Mapping

from proxygold.rewards.checks.finding import Outcome, fail, ok, warn
from proxygold.rewards.checks.subject import Subject
from proxygold.rewards.checks.time_limit import TimeUp, time_limit

__all__ = ["hundred_thousand_characters"]

_SIZES = (1_000, 10_000, 100_000)
_KINDS: Mapping[str, str] = {
    "sentences": "The river was high that spring, and the old bridge did not hold. ",
    "one word": "a",
    "marks": "!?",
    "brackets": "(",
    "line breaks": "\n",
    "spaces": " ",
}
# Seconds after which no further kind is begun.
_ENOUGH = 20.0
# Seconds that one answer may take: these, or twice what its length would have, but no more than the most.
_LIMIT = 10.0
_LIMIT_AT_MOST = 60.0
# Below this a slope means nothing; ten times the text in more than 30 times the time is no straight line.
_NOTICED = 0.5
_STEEP = 30.0
_SLOW = 5.0

_REMEDY = "Go through the text once: no loop in a loop, no regular expression that backtracks, or cut the text first."


def hundred_thousand_characters(subject: Subject) -> Outcome:
    """Scored, and in time that is in proportion to the length."""
    begun = time.perf_counter()
    slowest: tuple[float, str] = (0.0, "")
    tried: list[str] = []
    for kind, unit in _KINDS.items():
        if time.perf_counter() - begun > _ENOUGH:
            break
        times: list[float] = []
        for size in _SIZES:
            outcome, seconds = _timed(subject, kind, (unit * (size // len(unit) + 1))[:size])
            times.append(seconds)
            if outcome is None and seconds > _NOTICED and len(times) > 1 and seconds > _STEEP * times[-2]:
                growth = f"{seconds / times[-2]:.0f} times as long as {size // 10:,}"
                outcome = fail(f"{size:,} characters ({kind}) take {_duration(seconds)}, {growth}", _REMEDY)
            if outcome is not None:
                return outcome
        slowest = max(slowest, (times[-1], kind))
        tried.append(kind)
    seen = f"{_duration(slowest[0])} at most ({slowest[1]}), no worse than in proportion; tried {', '.join(tried)}"
    if slowest[0] > _SLOW:
        return warn(seen, "One such answer holds up a whole batch. Limit the answers, or cut them first.")
    return ok(seen)


def _timed(subject: Subject, kind: str, text: str) -> tuple[Outcome | None, float]:
    """Seconds to score one answer, and what is wrong with it, if anything."""
    mean = sum(len(example.completion) for example in subject.examples) / len(subject.examples)
    in_proportion = 2 * subject.row_seconds * len(text) / max(mean, 1.0)
    start = time.perf_counter()
    try:
        with time_limit(min(max(_LIMIT, in_proportion), _LIMIT_AT_MOST)):
            scored = subject.reward.score(subject.answered(text)[:1])
    except TimeUp:
        seconds = time.perf_counter() - start
        return fail(f"{len(text):,} characters ({kind}) take more than {seconds:.0f} s", _REMEDY), seconds
    seconds = time.perf_counter() - start
    # What a short text of this kind fails with too is no matter of length, and told by other checks.
    mistakes = subject.new_mistakes(scored)
    if mistakes and not subject.new_mistakes(subject.reward.score(subject.answered(_KINDS[kind])[:1])):
        return fail(f"{len(text):,} characters ({kind}): {mistakes[0][1]}", "Handle a text of any length."), seconds
    return None, seconds


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
