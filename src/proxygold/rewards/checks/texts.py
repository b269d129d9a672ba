"""Answers that a policy will come up with: empty, one character, any script, control characters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from proxygold.features.registry import find_feature
from proxygold.records import FloatArray, Scored
from proxygold.rewards.checks.finding import Outcome, fail, ok, warn
from proxygold.rewards.checks.subject import Subject
from proxygold.rewards.language import parse
from proxygold.rewards.tree import FeatureUse

__all__ = ["control_characters", "emoji_and_right_to_left", "empty", "one_character", "unspaced_scripts"]

_EMPTY = {"nothing": "", "white space": " \n\t \u3000"}
_ONE = {"a letter": "a", "a mark": ".", "a bracket": "(", "an emoji": "🙂", "a digit": "7"}
_EMOJI = {
    "emoji": "🙂👍🏽👩‍👩‍👧‍👦 🇳🇴 ❤️",
    "Arabic": "مرحبًا، كيف حالك اليوم؟",
    "Hebrew": "שלום, מה שלומך היום?",
    "combining marks": "Z̷̙͎̈́a̶͇̕l̵̤͆g̴͖͂o̷̯͝",
    "mixed directions": "abc \u202eשלום\u202c 123",
}
_CONTROL = {
    "NUL": "a\x00b",
    "control characters": "\x01\x07\x1b[31mred\x1b[0m\x7f\x85",
    "a lone surrogate": "half \ud83d a pair",
    "a byte order mark": "\ufeffword",
    "not a character": "\uffff \U0010ffff",
}
# One sentence three times over, without a space, and what it is in English.
_UNSPACED = {
    "Chinese": "今天天气很好我们去公园散步吧" * 3,
    "Japanese": "今日は天気がいいので公園へ行きます" * 3,
    "Thai": "วันนี้อากาศดีเราไปเดินเล่นที่สวนกันเถอะ" * 3,
}
_SPACED = " ".join(["the weather is fine today so let us walk in the park"] * 3)


def empty(subject: Subject) -> Outcome:
    """An empty answer has a score, and not the best one."""
    return _trivial(subject, _EMPTY, "Handle an empty completion: a policy ends at once when that pays.")


def one_character(subject: Subject) -> Outcome:
    """An answer of one character has a score, and not the best one."""
    return _trivial(subject, _ONE, "Handle a completion of one character or one word.")


def emoji_and_right_to_left(subject: Subject) -> Outcome:
    """Emoji, combining marks, and scripts that run from right to left have a score."""
    return _scored(subject, _EMOJI, "Handle any Unicode text: models write it.")


def control_characters(subject: Subject) -> Outcome:
    """NUL, escape sequences and broken Unicode have a score."""
    return _scored(subject, _CONTROL, "Handle any text, with NUL and control characters too.")


def unspaced_scripts(subject: Subject) -> Outcome:
    """Scripts without spaces between words have a score, and not that of a single word."""
    outcome = _scored(subject, _UNSPACED, "Handle any Unicode text: models write it.")
    if outcome.status != "ok":
        return outcome
    reward = subject.reward
    one, spaced = (reward.score(subject.answered(text)).parts for text in ("word", _SPACED))
    as_one_word: dict[str, list[str]] = {}
    for script, text in _UNSPACED.items():
        parts = reward.score(subject.answered(text)).parts
        for leaf in reward.leaves:
            if _same(parts[leaf], one[leaf]) and not _same(spaced[leaf], one[leaf]):
                as_one_word.setdefault(leaf, []).append(script)
    if not as_one_word:
        return ok("Chinese, Japanese and Thai are not taken for one word")
    seen = "; ".join(f"{leaf} takes {' and '.join(scripts)} for one word" for leaf, scripts in as_one_word.items())
    remedies = dict.fromkeys(_remedy(leaf) for leaf in as_one_word)
    return warn(seen, f"For answers in such scripts: {'; '.join(remedies)}.")


def _remedy(leaf: str) -> str:
    use = parse(leaf)
    feature = find_feature(use.name) if isinstance(use, FeatureUse) else None
    if feature is not None and "words" in feature.parameters:
        return f'{feature.name}(words="unicode")'
    if feature is not None and feature.source:
        return "count words with proxygold.text.unicode_words"
    return f"in place of {leaf} a feature of characters, such as chrf"


def _same(values: FloatArray, others: FloatArray) -> bool:
    return np.array_equal(values, others, equal_nan=True) and not np.isnan(values).all()


def _scored(subject: Subject, texts: Mapping[str, str], remedy: str) -> Outcome:
    outcome, _ = _judged(subject, texts, remedy)
    return outcome


def _trivial(subject: Subject, texts: Mapping[str, str], remedy: str) -> Outcome:
    outcome, scored = _judged(subject, texts, remedy)
    ordinary = subject.scored.total[np.isfinite(subject.scored.total)]
    best = float(np.nanmax(scored.total, initial=-np.inf))
    if outcome.status != "ok" or not len(ordinary):
        return outcome
    beaten = float((ordinary < best).mean())
    if beaten > 0.5 and best >= ordinary.max():
        return warn(
            f"scores {best:.4g}, and no ordinary answer scores more",
            "A policy will find this. Multiply by something that an empty answer has none of, such as LI.",
        )
    return outcome


def _judged(subject: Subject, texts: Mapping[str, str], remedy: str) -> tuple[Outcome, Scored]:
    kinds = [kind for kind in texts for _ in subject.bases]
    scored = subject.reward.score([example for text in texts.values() for example in subject.answered(text)])
    if mistakes := subject.new_mistakes(scored):
        row, reason = mistakes[0]
        return fail(f"{kinds[row]}: {reason}", remedy), scored
    if others := subject.new_gaps(scored):
        row, reason = others[0]
        remedy = "A trainer learns nothing from an answer without a score. Give it a low one."
        return warn(f"{kinds[row]} has no score: {reason}", remedy), scored
    finite = scored.total[np.isfinite(scored.total)]
    if not len(finite):
        return ok("no score, as for ordinary answers"), scored
    low, high = float(finite.min()), float(finite.max())
    between = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return ok(f"{', '.join(texts)}: {between}"), scored
