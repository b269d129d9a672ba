"""Query types given to prompts when a study reads them, so that it can train on published data sets as they are.

`proxygold annotate` writes types into a file once, by an LLM too; here are those that need no file: the local
classifier's and chance's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxygold.data.annotation import Conversation, conversation
from proxygold.data.query_types import LocalAnnotator, RandomAnnotator
from proxygold.errors import DataError
from proxygold.records import PromptRecord

__all__ = ["QueryTypeSettings", "with_query_types"]


class QueryTypeSettings(BaseModel):
    """Who says which prompts are open-ended. A word alone is `by`.

    - `by`: `local`, the classifier that ships, for the prompts without a type; or `random`, the paper's ablation, for
      all of them, whatever type they have.
    - `share`: with `random`, how many are open-ended. `seed`: with `random`, of the draw.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["local", "random"]
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, given: Any) -> Any:
        return {"by": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _only_chance_has_a_share(self) -> QueryTypeSettings:
        # By their values: a saved study has them all, and must be one that runs again.
        if self.by == "local" and (self.share, self.seed) != (0.5, 0):
            raise ValueError("share and seed are for query_types by random; leave them out")
        return self


def with_query_types(records: Sequence[PromptRecord], settings: QueryTypeSettings | None) -> tuple[PromptRecord, ...]:
    """The records with their types. None leaves them as they are; so is one in which nothing is asked."""
    if settings is None:
        return tuple(records)
    asked: dict[int, Conversation] = {}
    for place, record in enumerate(records):
        if record.query_type is None or settings.by == "random":
            try:
                asked[place] = conversation(record.prompt)
            except DataError:
                continue  # without a type, whatever needs one will say what is wrong with this prompt
    if not asked:
        return tuple(records)
    typed = list(records)
    for place, label in zip(asked, _annotator(settings).label(list(asked.values())), strict=True):
        typed[place] = replace(records[place], query_type=label.value)
    return tuple(typed)


def _annotator(settings: QueryTypeSettings) -> LocalAnnotator | RandomAnnotator:
    if settings.by == "random":
        return RandomAnnotator(settings.share, settings.seed)
    from proxygold.models.query_type_classifier import load_classifier

    return LocalAnnotator(load_classifier())
