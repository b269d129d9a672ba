"""Reference answers by an LLM, for those who have prompts and nothing to compare an answer with.

A reference is what AR, and with it the closed-ended arm of `RER`, measures against. A row that has one keeps it.
"""

from __future__ import annotations

from collections.abc import Callable

from proxygold.data.llm_asking import THOUGHTS, LLMAsker
from proxygold.llm import LLM, Reply, UnparseableAnswer

__all__ = ["REFERENCE", "ReferenceAnnotator"]

REFERENCE = "reference"


class ReferenceAnnotator(LLMAsker):
    """Has a model answer each conversation, or what `prompt` makes of it with `{conversation}` or `{query}`.

    An answer that was cut off at the token limit is no reference: its end is missing, and a policy would be rewarded
    for the same. Nor is an empty one, or one that is all thought.
    """

    adds: tuple[str, ...] = ("reason",)
    fills = True

    def __init__(
        self, llm: LLM, prompt: str | None = None, answered: Callable[[int], None] = lambda index: None
    ) -> None:
        super().__init__(llm, prompt, _parse, answered)


def _parse(reply: Reply) -> str:
    if reply.finish_reason == "length":
        raise UnparseableAnswer("cut off at the token limit: raise max_tokens", reply.text)
    answer = THOUGHTS.sub("", reply.text).strip()
    if not answer:
        raise UnparseableAnswer("an empty answer", reply.text)
    return answer
