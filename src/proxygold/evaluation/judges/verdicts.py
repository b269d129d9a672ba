"""What a judge is asked and what comes of it, and what a result says of the questions that nothing came of."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from proxygold.records import FloatArray, Message

__all__ = [
    "NO_ANSWER",
    "REFUSAL",
    "UNPARSEABLE",
    "Question",
    "Verdict",
    "VerdictLine",
    "about_judge",
    "failures",
    "missing_bounds",
    "prompt_hash",
    "read_verdict",
    "request_hash",
    "request_hashes",
]

# The three ways in which a question gets no verdict. Only the first is asked again by the same command.
NO_ANSWER = "no answer"
REFUSAL = "refusal"
UNPARSEABLE = "unparseable answer"

T = TypeVar("T")

# What a model that thinks aloud puts before its answer.
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a judge. `id` is unique in the file of verdicts.

    Questions of equal messages are asked once, unless they differ in `repeat`, which is not sent: so the same can be
    asked several times for how much a judge agrees with itself.
    """

    id: str
    messages: Sequence[Message]
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T]):
    """What came of a question.

    `value` is None when there is none, and then `failure` is NO_ANSWER, REFUSAL or UNPARSEABLE and `reason` says more.
    `text`: the judge's own words. `model`: the snapshot that the endpoint says it was.
    """

    id: str
    value: T | None
    failure: str | None
    reason: str
    text: str
    model: str


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """A line of a file of verdicts. `request` is `request_hash` of the question, `judge` whom it went to (model,
    base_url, parameters), `finish` the endpoint's finish reason."""

    id: str
    request: str
    judge: Mapping[str, Any]
    model: str
    text: str
    failure: str | None
    reason: str
    finish: str | None
    tokens_in: int
    tokens_out: int


def request_hash(question: Question) -> str:
    """16 hex digits of the SHA-256 of what a question says: its messages and `repeat`, not its id nor the judge."""
    asked = [[message["role"], message["content"]] for message in question.messages]
    return prompt_hash(json.dumps([asked, question.repeat]))


def prompt_hash(text: str) -> str:
    """16 hex digits of a text's SHA-256, by which a result names the judge's prompt.

    >>> prompt_hash("")
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def request_hashes(questions: Sequence[Question]) -> list[str]:
    """The hash of each question. Raises ValueError when two have one id."""
    if len({question.id for question in questions}) < len(questions):
        raise ValueError("two questions have the same id")
    return [request_hash(question) for question in questions]


def read_verdict(line: VerdictLine, parse: Callable[[str], T]) -> Verdict[T]:
    """A line's verdict. `parse` gets the text without the thoughts of a model that thinks aloud, and may raise
    ValueError. It is asked here, not when the answer came, so that a better parser can read an old file."""
    if line.failure in (NO_ANSWER, REFUSAL):
        return Verdict(line.id, None, line.failure, line.reason, line.text, line.model)
    said = _THOUGHTS.sub("", line.text).strip()
    cut = " (the answer was cut off at the token limit)" if line.finish == "length" else ""
    if not said or "<think>" in said:  # thoughts that do not end may name a verdict and reject it
        problem = "the answer is empty" if not said else "the answer ends before its thoughts do"
        return Verdict(line.id, None, UNPARSEABLE, problem + cut, line.text, line.model)
    try:
        return Verdict(line.id, parse(said), None, "", line.text, line.model)
    except ValueError as error:
        return Verdict(line.id, None, UNPARSEABLE, f"{error}{cut}", line.text, line.model)


def about_judge(who: Mapping[str, Any], lines: Mapping[str, VerdictLine]) -> dict[str, Any]:
    """Whom it was, and what its verdicts took; each request counts once."""
    return {
        **who,
        "snapshots": sorted({line.model for line in lines.values() if line.model}),
        "tokens_in": sum(line.tokens_in for line in lines.values()),
        "tokens_out": sum(line.tokens_out for line in lines.values()),
    }


def failures(verdicts: Iterable[Verdict[Any]]) -> dict[str, int]:
    """How many got no verdict, by the kind of failure, the commonest first: for `ModelResult.left_out`."""
    return dict(Counter(verdict.failure for verdict in verdicts if verdict.failure is not None).most_common())


def missing_bounds(values: FloatArray, worst: float, best: float) -> tuple[float, float]:
    """The mean of (n,) values if every unscored one (NaN) were `worst`, and if every one were `best`.

    >>> missing_bounds(np.array([1.0, np.nan, 0.0, 1.0]), 0.0, 1.0)
    (0.5, 0.75)
    """
    if not len(values):
        return math.nan, math.nan
    missing = np.isnan(values)
    return float(np.where(missing, worst, values).mean()), float(np.where(missing, best, values).mean())
