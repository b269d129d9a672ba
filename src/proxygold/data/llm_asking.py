"""An LLM asked about the query of each row: what is sent, what it would cost, and what became of each request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from proxygold.data.annotation import Conversation, Label, Unlabelled, has_label, last_query, read_conversations
from proxygold.data.files import RejectedRow
from proxygold.data.source_settings import SourceSettings
from proxygold.errors import ConfigError
from proxygold.llm import LLM, Estimate, Refusal, Reply, TransportError, UnparseableAnswer
from proxygold.records import Message

__all__ = ["THOUGHTS", "LLMAsker", "read_prompt"]

# What a model that thinks aloud puts before its answer.
THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)

_PLACEHOLDERS = ("{conversation}", "{query}")


class LLMAsker:
    """An annotator that asks a model and makes a label of its reply with `parse`.

    `prompt` is the question, with `{conversation}` or `{query}` in it; None sends the conversation itself, to be
    answered. `parse` raises UnparseableAnswer for a reply that is no label.
    """

    adds: tuple[str, ...] = ("reason",)
    fills = False

    def __init__(
        self, llm: LLM, prompt: str | None, parse: Callable[[Reply], str], answered: Callable[[int], None]
    ) -> None:
        self._llm = llm
        self._prompt = None if prompt is None else checked_prompt(prompt, "the prompt")
        self._parse = parse
        self._answered = answered

    def label(self, conversations: Sequence[Conversation]) -> list[Label | Unlabelled]:
        """Raises JudgeError for what no retry can mend; what was answered till then is in the LLM's cache."""
        requests = [self.request(turns) for turns in conversations]
        return [_outcome(answer) for answer in self._llm.ask_all(requests, self._parse, self._answered)]

    def request(self, turns: Conversation) -> list[Message]:
        """What is sent for one conversation."""
        if self._prompt is None:
            return turns
        texts = {"{conversation}": _shown(turns), "{query}": last_query(turns)}
        # In one pass, so that a query that has a placeholder in it stays as it is.
        content = re.sub("|".join(map(re.escape, texts)), lambda found: texts[found[0]], self._prompt)
        return [Message(role="user", content=content)]

    def estimate(self, conversations: Iterable[Conversation]) -> Estimate:
        """What it would take to label these, with what is answered already left out."""
        return self._llm.estimate((self.request(turns), 0) for turns in conversations)

    def estimate_file(self, source: Path | SourceSettings, name: str) -> Estimate:
        """`estimate` for the rows of some data; of an annotator that fills, for those with nothing under `name`."""
        items = (item for item in read_conversations(source) if not isinstance(item, RejectedRow))
        return self.estimate(turns for row, turns in items if not (self.fills and has_label(row, name)))


def read_prompt(path: Path) -> str:
    """A user's own question out of a text file. Raises ConfigError when it cannot be read or has no placeholder."""
    try:
        prompt = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the prompt {path}: {error}. Give a text file in UTF-8.") from error
    return checked_prompt(prompt.removesuffix("\n"), str(path))


def checked_prompt(prompt: str, name: str) -> str:
    if not any(placeholder in prompt for placeholder in _PLACEHOLDERS):
        raise ConfigError(
            f"{name} has no placeholder, so the model would not see what to judge. Write {{conversation}} where the "
            "whole conversation goes, or {query} for the last message of the user's."
        )
    return prompt


def _outcome(answer: str | TransportError | Refusal | UnparseableAnswer) -> Label | Unlabelled:
    if isinstance(answer, str):
        return Label(answer)
    if isinstance(answer, UnparseableAnswer):
        return Unlabelled("unparseable answer", str(answer), answer.answer)
    return Unlabelled("refusal" if isinstance(answer, Refusal) else "no answer", str(answer))


def _shown(turns: Conversation) -> str:
    """A conversation as text; a single query stands for itself."""
    if len(turns) == 1:
        return last_query(turns)
    return "\n\n".join(f"[{turn['role']}]\n{turn['content'].strip()}" for turn in turns)
