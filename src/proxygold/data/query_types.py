"""Query types of the prompts in a data file, and who gives them.

The type T(x) of the paper says how a query is rewarded: open-ended, the answer can be relatively anything and creative;
closed-ended, it should be consistent and constrained. Who decides is an annotator: an LLM (`query_type_llm.py`), the
local classifier, or chance. Of a conversation it is the last query of the user that has a type.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxygold.data.annotation import Conversation, Label, last_query, read_conversations
from proxygold.data.files import RejectedRow
from proxygold.errors import ConfigError, DataError
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, QUERY_TYPE_ALIASES

if TYPE_CHECKING:
    from proxygold.models.query_type_classifier import QueryTypeClassifier

__all__ = ["LabelledQuery", "LocalAnnotator", "RandomAnnotator", "read_labelled_queries"]


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A query and its type, to train on."""

    text: str
    query_type: str


class RandomAnnotator:
    """The paper's ablation: open-ended with probability `share`, whatever is asked.

    A query has one type under one seed, wherever and however often it stands, as T(x) of any other annotator has.
    """

    adds: tuple[str, ...] = ()
    fills = False

    def __init__(self, share: float = 0.5, seed: int = 0) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"the share of open-ended queries is {share}. Give a number from 0 to 1.")
        self._share, self._seed = share, seed

    def label(self, conversations: Sequence[Conversation]) -> list[Label]:
        return [Label(OPEN_ENDED if self._draw(turns) < self._share else CLOSED_ENDED) for turns in conversations]

    def _draw(self, turns: Conversation) -> float:
        """Uniform in [0, 1), from a hash of the seed and the conversation."""
        digest = hashlib.sha256(repr((self._seed, [(turn["role"], turn["content"]) for turn in turns])).encode())
        return int.from_bytes(digest.digest()[:7]) / 2**56


class LocalAnnotator:
    """The local classifier, on the last query alone: what was said before it is not read."""

    adds: tuple[str, ...] = ("probability",)
    fills = False

    def __init__(self, classifier: QueryTypeClassifier) -> None:
        self._classifier = classifier

    def label(self, conversations: Sequence[Conversation]) -> list[Label]:
        odds = self._classifier.probabilities([last_query(turns) for turns in conversations])
        return [Label(OPEN_ENDED if p > 0.5 else CLOSED_ENDED, float(p)) for p in odds]


def read_labelled_queries(path: Path, column: str = "query_type") -> tuple[list[LabelledQuery], list[RejectedRow]]:
    """The queries of a file with the types in `column`, and the rows that cannot be used.

    Raises DataError as `read_rows` does, and when no row can be used.
    """
    queries: list[LabelledQuery] = []
    rejected: list[RejectedRow] = []
    for item in read_conversations(path):
        if isinstance(item, RejectedRow):
            rejected.append(item)
            continue
        row, turns = item
        label = row.values.get(column)
        if isinstance(label, str) and label in QUERY_TYPE_ALIASES:
            queries.append(LabelledQuery(last_query(turns), QUERY_TYPE_ALIASES[label]))
        else:
            allowed = ", ".join(QUERY_TYPE_ALIASES)
            rejected.append(RejectedRow(path, row.line, f"{column} is {label!r:.40}; allowed: {allowed}"))
    if not queries:
        raise DataError(f"no row of {path} can be used. The first: {rejected[0]}")
    return queries, rejected
