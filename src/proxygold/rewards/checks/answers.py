"""Ordinary answers to check a reward on: to the built-in prompts, of many lengths and kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxygold.data.builtin import builtin_prompts
from proxygold.records import Example

__all__ = ["ordinary_answers"]

# How an answer is made of all references and its own place among them: right and wrong, short and long, fluent,
# repeated, listed, evasive. A reward that gives all of these one number tells nothing.
_Make = Callable[[Sequence[str], int], str]
_MAKES: tuple[_Make, ...] = (
    lambda references, i: references[i],
    lambda references, i: references[i - 7],
    lambda references, i: " ".join(references[i].split()[:3]),
    lambda references, i: " ".join([references[i]] * 3),
    lambda references, i: " ".join(_following(references, i, 3)),
    lambda references, i: "\n".join(f"- {reference}" for reference in _following(references, i, 4)),
    lambda references, i: f"Perhaps it depends. I think that it might be this: {references[i]}",
    lambda references, i: "I'm sorry, but I can't help with that.",
    lambda references, i: "\n\n".join(_following(references, i, 10)),
)


def ordinary_answers() -> list[Example]:
    """One answer to each built-in validation prompt, with its reference and query type, the same every time."""
    prompts = builtin_prompts("validation")
    references = [prompt.reference or "" for prompt in prompts]
    return [
        Example(
            prompt=prompt.prompt,
            completion=_MAKES[_kind_at(i)](references, i),
            reference=prompt.reference,
            query_type=prompt.query_type,
            columns=prompt.columns,
        )
        for i, prompt in enumerate(prompts)
    ]


def _kind_at(place: int) -> int:
    """Which kind of answer stands at a place. The kinds move on by one each time round, so that every third answer, or
    every ninth, has all of them too."""
    return (place + place // len(_MAKES)) % len(_MAKES)


def _following(references: Sequence[str], start: int, count: int) -> list[str]:
    return [references[(start + step) % len(references)] for step in range(count)]
