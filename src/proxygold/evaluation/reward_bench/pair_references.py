"""Reference answers and query types from a file of their own, for pairs that come without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.data.files import RejectedRow, read_rows
from proxygold.errors import DataError
from proxygold.evaluation.answers.prompts import prompt_key
from proxygold.records import QUERY_TYPE_ALIASES

if TYPE_CHECKING:
    from proxygold.evaluation.reward_bench.preference_pairs import TestPair

__all__ = ["PairReferences"]

_GIVEN = ("reference", "query_type")


@dataclass(slots=True)
class PairReferences:
    """What a file says, by id and by prompt. A row is for the pair of its `id`; else, and for other pairs, of its
    prompt."""

    by_id: dict[str, Mapping[str, str]] = field(default_factory=dict)
    by_prompt: dict[str, Mapping[str, str]] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> PairReferences:
        """Rows with `id` or `prompt`, and `reference` or `query_type` or both; those that say nothing are rejected.

        Raises DataError when the file cannot be read or no row can be used.
        """
        found = cls()
        for row in read_rows(path):
            if isinstance(row, RejectedRow):
                found.rejected.append(row)
                continue
            try:
                found._add(row.values)
            except DataError as error:
                found.rejected.append(RejectedRow(path, row.line, str(error)))
        if not found.by_id and not found.by_prompt:
            raise DataError(f"no row of {path} can be used. The first: {found.rejected[0]}")
        return found

    def complete(self, pair: TestPair) -> TestPair:
        """The pair with what the file says of it."""
        given = self.by_id.get(pair.id) or self.by_prompt.get(prompt_key(pair.prompt)) or {}
        return replace(
            pair,
            reference=given.get("reference", pair.reference),
            query_type=given.get("query_type", pair.query_type),
        )

    def _add(self, values: Mapping[str, Any]) -> None:
        given = {name: values[name] for name in _GIVEN if values.get(name) is not None}
        if not given:
            raise DataError(f"neither reference nor query_type; the row has: {', '.join(values) or 'nothing'}")
        for name, value in given.items():
            if not isinstance(value, str):
                raise DataError(f"{name} is {value!r}; a text is needed")
        if "query_type" in given:
            if given["query_type"] not in QUERY_TYPE_ALIASES:
                raise DataError(f"query_type is {given['query_type']!r}; allowed: {', '.join(QUERY_TYPE_ALIASES)}")
            given["query_type"] = QUERY_TYPE_ALIASES[given["query_type"]]
        if values.get("id") is not None:
            known, key = self.by_id, str(values["id"])
        elif values.get("prompt") is not None:
            known, key = self.by_prompt, prompt_key(values["prompt"])
        else:
            raise DataError("neither id nor prompt, so it cannot be told which pair it is for")
        if known.get(key, given) != given:
            raise DataError(f"another row before it is for the same {'id' if known is self.by_id else 'prompt'}")
        known[key] = given
        if values.get("prompt") is not None:
            self.by_prompt.setdefault(prompt_key(values["prompt"]), given)
