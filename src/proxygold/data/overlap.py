"""Which prompts of one set are in another: word for word, or with a long run of words in common."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxygold.records import Prompt, PromptRecord
from proxygold.templates import user_text
from proxygold.text import words

__all__ = ["RUN", "Overlap", "find_overlap", "prompt_key"]

# Words in a row that two prompts hardly share by chance. So many were taken to find benchmarks in GPT-3's training data
# (Brown et al. 2020, appendix C).
RUN = 13

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """What `records` and `others` have in common, as positions in each, ascending.

    `same`: those of `records` that are in `others` too; `same_others`: those of `others` that they are. `near`: those
    of `others` that are not among these and share `RUN` words in a row with one of `records`.
    """

    same: tuple[int, ...]
    same_others: tuple[int, ...]
    near: tuple[int, ...]


def prompt_key(prompt: Prompt) -> str:
    """What two prompts share that ask the same: the user's words and signs, whatever their case and the space between.

    Of a conversation all turns of the user count, and no other turn.

    >>> prompt_key("What is 2+2?") == prompt_key([{"role": "user", "content": "what is 2 + 2 ?"}])
    True
    >>> prompt_key("What is 2+2?") == prompt_key("What is 2-2?")
    False
    """
    return " ".join(words(user_text(prompt).casefold()))


def find_overlap(records: Sequence[PromptRecord], others: Sequence[PromptRecord], *, runs: bool = True) -> Overlap:
    """Compare two sets of prompts. `others` is what is held in memory, so let it be the smaller one.

    Without `runs`, `near` is not looked for.
    """
    keys: dict[str, list[int]] = defaultdict(list)
    shared: dict[int, list[int]] = defaultdict(list)
    for position, record in enumerate(others):
        keys[prompt_key(record.prompt)].append(position)
        for run in set(_runs(record.prompt)) if runs else ():
            shared[run].append(position)
    same: list[int] = []
    same_others: set[int] = set()
    near: set[int] = set()
    for position, record in enumerate(records):
        if (key := prompt_key(record.prompt)) in keys:
            same.append(position)
            same_others.update(keys[key])
        if shared:
            for run in _runs(record.prompt):
                if run in shared:
                    near.update(shared[run])
    return Overlap(tuple(same), tuple(sorted(same_others)), tuple(sorted(near - same_others)))


def _runs(prompt: Prompt) -> Iterator[int]:
    """A hash of each `RUN` words in a row, punctuation aside."""
    found = _WORD.findall(user_text(prompt).casefold())
    for start in range(len(found) - RUN + 1):
        yield hash(tuple(found[start : start + RUN]))
