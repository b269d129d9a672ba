"""Which prompts two sets share: counted against a plain comparison of all pairs."""

from __future__ import annotations

import random
import re

import pytest

from proxygold.data.overlap import RUN, find_overlap, prompt_key
from proxygold.records import Prompt, PromptRecord

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


def records(*prompts: Prompt) -> list[PromptRecord]:
    return [PromptRecord(str(number), prompt) for number, prompt in enumerate(prompts)]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_the_same_prompt_in_other_dress() -> None:
    talk = [
        {"role": "system", "content": "Be kind."},
        user("Hi there"),
        {"role": "assistant", "content": "?"},
        user("Go"),
    ]
    found = find_overlap(
        records("What is 2+2?", "hi  THERE\ngo", "What is 2-2?", "Etwas anderes"),
        records("nothing", "what is  2 + 2 ?", talk, "What is 2+2?"),
    )
    assert found.same == (0, 1)
    assert found.same_others == (1, 2, 3)
    assert found.near == ()


def test_thirteen_words_in_a_row() -> None:
    assert len(LONG.split()) == RUN == 13
    others = records(f"Count: {LONG.upper()}!", "short", LONG.replace("seven", "six"), f"zero {LONG}", LONG)
    found = find_overlap(records(f"Please read, {LONG.replace(' ', ', ')} and fourteen", "short."), others)
    assert found.same == ()
    assert found.near == (0, 3, 4)
    assert find_overlap(records(LONG, f"a {LONG}"), others).near == (0, 3)  # 4 is the same
    assert find_overlap(records(LONG, f"a {LONG}"), others, runs=False).near == ()


def test_against_all_pairs() -> None:
    draw = random.Random(0)
    sets = [
        records(*(" ".join(draw.choice("abc") for _ in range(draw.choice([1, 2, 14, 16]))) for _ in range(60)))
        for _ in range(2)
    ]

    def runs(record: PromptRecord) -> set[tuple[str, ...]]:
        found = re.findall(r"\w+", str(record.prompt))
        return {tuple(found[start : start + 13]) for start in range(len(found) - 12)}

    same = [(i, j) for i, one in enumerate(sets[0]) for j, two in enumerate(sets[1]) if one.prompt == two.prompt]
    near = {j for one in sets[0] for j, two in enumerate(sets[1]) if runs(one) & runs(two)}
    found = find_overlap(sets[0], sets[1])
    assert found.same == tuple(sorted({i for i, _ in same}))
    assert found.same_others == tuple(sorted({j for _, j in same}))
    assert found.near == tuple(sorted(near - {j for _, j in same}))
    assert found.same
    assert not find_overlap(sets[0], []).same


@pytest.mark.parametrize(("one", "two"), [("???", "!!!"), ("", "a"), ("x = 1", "x = 2"), ("Étude", "Etude")])
def test_prompts_that_differ(one: str, two: str) -> None:
    assert prompt_key(one) != prompt_key(two)
