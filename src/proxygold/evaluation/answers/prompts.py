"""The prompts of a benchmark that has none of its own files: any source of prompts, AlpacaEval's 805 by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxygold.data.files import RejectedRow
from proxygold.data.prompt_sets import read_prompt_set
from proxygold.data.source_settings import parse_source
from proxygold.data.typed_prompts import QueryTypeSettings, with_query_types
from proxygold.errors import ConfigError
from proxygold.json_lines import to_json
from proxygold.records import Prompt, PromptRecord

__all__ = ["EvaluationPrompts", "prompt_key", "read_prompts", "with_types"]


@dataclass(frozen=True, slots=True)
class EvaluationPrompts:
    """Prompts, each text once, in the order of their rows. `rejected`: rows that cannot be used.

    `about` is for the settings of a result: where they are from, who gave the query types, and the `limit` if they are
    the first of more.
    """

    records: Sequence[PromptRecord]
    rejected: Sequence[RejectedRow] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def prompt_key(prompt: Prompt) -> str:
    """What two prompts have in common that ask the same: one user message is its text.

    >>> prompt_key([{"role": "user", "content": "Why?"}])
    'Why?'
    """
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0]["role"] == "user":
        return prompt[0]["content"]
    return to_json([[message["role"], message["content"]] for message in prompt])


def read_prompts(source: str, *, limit: int | None = None, query_types: str | None = None) -> EvaluationPrompts:
    """The prompts of `source`: what `data.validation` of a study may be, a mapping such as
    `{source: FILE, name: alpaca_eval}` as text.

    `query_types`: `local` gives a type to every prompt without one, by the classifier that ships; None leaves them.
    A prompt that came before is rejected: benchmarks tell prompts by what they ask. Raises DataError for a source that
    cannot be read and ConfigError for one that makes no sense.
    """
    settings = parse_source(_mapping(source))
    found = read_prompt_set(settings, "validation", limit)
    seen: set[str] = set()
    kept: list[PromptRecord] = []
    rejected = list(found.rejected)
    for place, record in enumerate(found.records, start=1):
        key = prompt_key(record.prompt)
        if key in seen:
            rejected.append(RejectedRow(str(settings), place, f"{record.id}: the same prompt came before"))
            continue
        seen.add(key)
        kept.append(record)
    return with_types(EvaluationPrompts(kept, rejected, {"prompts": str(settings), "limit": limit}), query_types)


def with_types(prompts: EvaluationPrompts, query_types: str | None) -> EvaluationPrompts:
    """The prompts with types where `query_types` is `local`, and with what was done in `about`.

    Raises ConfigError for another word.
    """
    if query_types not in (None, "local"):
        raise ConfigError(f"--query-types is {query_types!r}; allowed: local, or leave it out.")
    typed = with_query_types(prompts.records, QueryTypeSettings(by="local") if query_types == "local" else None)
    added = {"n_prompts": len(typed), "rejected": len(prompts.rejected), "query_types": query_types or "as given"}
    return EvaluationPrompts(typed, prompts.rejected, {**prompts.about, **added})


def _mapping(source: str) -> Any:
    """What a mapping in braces says; any other text as it is."""
    if not source.lstrip().startswith("{"):
        return source
    try:
        return yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source!r} is no mapping. Write it as '{{source: FILE, name: alpaca_eval}}'.") from error
