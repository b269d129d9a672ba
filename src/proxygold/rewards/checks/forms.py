"""The forms that data comes in: prompts as messages, rows without a reference or query type, TRL's call."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np

from proxygold.records import Example, Message
from proxygold.rewards.checks.finding import Outcome, fail, ok, warn
from proxygold.rewards.checks.subject import Subject
from proxygold.templates import user_text

__all__ = ["missing_columns", "prompts_as_messages", "trl_call"]


def prompts_as_messages(subject: Subject) -> Outcome:
    """Prompts that are conversations, with system text, parts that are no text, and calls of tools, have a score."""
    forms: dict[str, list[Any]] = {
        "messages with system text": [_say("system", "Be brief."), None],
        "several turns": [_say("user", "Hello."), _say("assistant", "Hello! What is it?"), None],
        "parts that are no text": [
            {"role": "user", "content": [{"type": "image", "url": "cat.png"}, {"type": "text", "text": "What is it?"}]}
        ],
        "a tool call": [
            _say("user", "What is the weather?"),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"type": "function", "function": {"name": "weather"}}],
            },
            {"role": "tool", "content": "Rain."},
            None,
        ],
    }
    kinds, examples = [], []
    for kind, messages in forms.items():
        for base in subject.bases:
            # None stands for what the user asks.
            prompt = [message or _say("user", user_text(base.prompt)) for message in messages]
            kinds.append(kind)
            examples.append(replace(base, prompt=cast("list[Message]", prompt)))
    scored = subject.reward.score(examples)
    if mistakes := subject.new_mistakes(scored):
        row, reason = mistakes[0]
        return fail(
            f"{kinds[row]}: {reason}",
            "A prompt is a text or a list of messages: proxygold.templates.user_text(example.prompt) gives its text.",
        )
    if others := subject.new_gaps(scored):
        row, reason = others[0]
        return warn(f"{kinds[row]}: no score: {reason}", "Do without such prompts, or without this feature.")
    return ok(f"scored: {', '.join(forms)}")


def missing_columns(subject: Subject) -> Outcome:
    """A row without a reference, query type or other column has no score and a reason, where that is needed."""
    bases, needed = subject.bases, subject.reward.required_columns
    lacking = {
        "reference": [replace(base, reference=None) for base in bases],
        "query_type": [replace(base, query_type=None) for base in bases],
        "other columns": [replace(base, columns={}) for base in bases],
    }
    names = [name for name, examples in lacking.items() for _ in examples]
    scored = subject.reward.score([example for examples in lacking.values() for example in examples])
    for row, reason in subject.new_mistakes(scored):
        name = "NAME" if names[row] == "other columns" else names[row]
        return fail(f"without {names[row]}: {reason}", f'Declare what it needs: @feature(…, columns=["{name}"]).')
    reasons = {names[row]: reason for row, reason in enumerate(scored.reasons) if reason is not None}
    if not needed:
        return ok("needs none, and none is needed")
    without = next(iter(reasons.values()), "these answers do without")
    return ok(f"needs {', '.join(sorted(needed))}; {without}")


def trl_call(subject: Subject) -> Outcome:
    """Called as TRL calls it, with texts and with messages, it gives a float or None for each completion."""
    rows = subject.few(16)
    examples = subject.rows(rows)
    logged: dict[str, Any] = {}
    common: dict[str, Any] = {
        "completion_ids": [[1, 2, 3]] * len(examples),
        "trainer_state": None,
        "log_extra": logged.__setitem__,
        "log_metric": logged.__setitem__,
        **_columns(examples),
    }
    texts = subject.reward(
        [example.prompt for example in examples], [example.completion for example in examples], **common
    )
    talked = subject.reward(
        [
            example.prompt if isinstance(example.prompt, list) else [_say("user", example.prompt)]
            for example in examples
        ],
        [[_say("assistant", example.completion)] for example in examples],
        **common,
    )
    remedy = "This is proxygold's own part: please report it."
    for returned in (texts, talked):
        if not isinstance(returned, list) or len(returned) != len(examples):
            return fail(f"{len(examples)} completions gave {type(returned).__name__} of {len(returned)}", remedy)
        if not all(value is None or (type(value) is float and math.isfinite(value)) for value in returned):
            return fail(f"returned {returned[:3]}", remedy)
    scores = np.array([math.nan if value is None else value for value in texts])
    if not np.allclose(scores, subject.reward.score(examples).total, rtol=1e-3, equal_nan=True):
        return fail("a call gives other numbers than a score", "A feature must not change what it is given.")
    name = subject.reward.__name__
    if not name.isidentifier() or f"{name}/not_scored" not in logged:
        return fail(f"__name__ is {name!r}, and logged were {', '.join(logged) or 'no values'}", remedy)
    return ok(f"a float or None for each completion, logged as {name}")


def _columns(examples: list[Example]) -> dict[str, list[Any]]:
    names = {name: None for example in examples for name in example.columns}
    return {
        "reference": [example.reference for example in examples],
        "query_type": [example.query_type for example in examples],
        **{name: [example.columns.get(name) for example in examples] for name in names},
    }


def _say(role: str, content: str) -> Message:
    return Message(role=role, content=content)
