"""Our own judge prompts for chat answers, put together from parts.

An answer is graded or two are compared, to a first or to a second turn, with a reference answer or without.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["SYSTEM", "own_template"]

SYSTEM = (
    "You judge answers of chat assistants. You check what they say, you stay with what was asked, and neither length "
    "nor a confident tone impresses you."
)

_GRADED = "Grade an assistant's answer from 1 (useless or wrong) to 10 (it could hardly be better)."
_GRADED_SECOND = (
    "A user and an assistant had two turns. Grade the assistant's second answer from 1 (useless or wrong) to 10 (it "
    "could hardly be better). The first turn is there because the second builds on it; it is not graded."
)
_COMPARED = "Two assistants, A and B, answered the same user. Decide whose answer serves the user better."
_COMPARED_SECOND = (
    "Two assistants, A and B, had the same two turns with a user, each building on its own first answer. Decide whose "
    "second answer serves the user better."
)

_CRITERIA = (
    "It counts whether an answer does what was asked, whether what it says is true, whether anything needed is "
    "missing, and whether it is clear. Padding and repetition count against it."
)
_FAIR = "Which assistant comes first says nothing, and the longer answer is not the better one for being longer."
_REFERENCE = (
    "A reference answer is given, which is right. Compare results with it step by step, and say where they part: a "
    "wrong result is a bad answer, however well it is written, and a right one reached in another way is as good."
)

_GRADE = (
    "First give your reasons in a few sentences. Then end with the grade on a line of its own, in two pairs of square "
    "brackets, such as: [[5]]"
)
_VERDICT = (
    "First give your reasons in a few sentences. Then end with your verdict on a line of its own: [[A]] if A's answer "
    "is better, [[B]] if B's is, [[C]] if neither is."
)


def own_template(mode: Literal["single", "pairwise"], *, reference: bool, second: bool) -> str:
    """The template of a prompt, with FastChat's fields: `question`, `answer_a_2`, `ref_answer_1` and so on."""
    pairwise = mode == "pairwise"
    task = (_COMPARED_SECOND if second else _COMPARED) if pairwise else (_GRADED_SECOND if second else _GRADED)
    rules = [task, _CRITERIA, *([_FAIR] if pairwise else []), *([_REFERENCE] if reference else [])]
    parts = ["\n\n".join([*rules, _VERDICT if pairwise else _GRADE])]
    if not second:
        parts.append(_part("question", "{question}"))
    if reference:
        parts.append(_conversation("reference", "ref_answer") if second else _part("reference", "{ref_answer_1}"))
    for name, field in (("answer A", "answer_a"), ("answer B", "answer_b")) if pairwise else (("answer", "answer"),):
        parts.append(
            _conversation(name.replace("answer", "conversation"), field) if second else _part(name, f"{{{field}}}")
        )
    return "\n\n".join(parts)


def _part(name: str, text: str) -> str:
    return f"--- {name} ---\n{text}\n--- end of {name} ---"


def _conversation(name: str, field: str) -> str:
    turns = [f"User: {{question_{turn}}}\n\nAssistant: {{{field}_{turn}}}" for turn in (1, 2)]
    return _part(name, "\n\n".join(turns))
