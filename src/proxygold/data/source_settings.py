"""Where a set of prompts comes from, as a study file says it: one word, or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from proxygold.data.builtin import Split
from proxygold.data.hub import is_hub_name
from proxygold.data.published import PUBLISHED, get_form
from proxygold.errors import ConfigError

__all__ = ["BUILTIN", "FIELDS", "SourceSettings", "parse_source"]

BUILTIN = "builtin"  # the word for the prompts that come with the package
# What a row gives to a study; every other column is there for features of one's own.
FIELDS = ("prompt", "reference", "query_type", "id")


class SourceSettings(BaseModel):
    """One set of prompts.

    A word alone is the `source`: `builtin`, a data set by its name (`proxygold.data.published`), whatever `score` reads
    (files, directories, patterns), or a data set of the hub (`hub:OWNER/NAME:SPLIT`). In a mapping beside it:

    - `name`: the data set in whose published form the rows are, such as `alpaca` for a downloaded `alpaca_data.json`.
      Without a `source` it is downloaded from where it is published.
    - `fields`: which column is the `prompt`, the `reference`, the `query_type`, the `id`.
    - `split`: of a data set by name or from the hub. None: what fits the role, such as `test` for dev.
    - `limit`: so many prompts from the start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | None = None
    name: str | None = None
    fields: dict[str, str] = {}
    split: str | None = None
    limit: PositiveInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, given: Any) -> Any:
        if not isinstance(given, str | Mapping | SourceSettings):
            raise ValueError("give a word, such as builtin, a data set or a file, or a mapping with a source")
        return {"source": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _fits_together(self) -> SourceSettings:
        if not self.place:
            raise ValueError("give a source: builtin, the name of a known data set, a file, or hub:OWNER/NAME")
        try:
            if self.name is not None:
                get_form(self.name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if unknown := sorted(set(self.fields) - set(FIELDS)):
            raise ValueError(f"fields maps {', '.join(FIELDS)} to columns of the data; it has {unknown[0]!r}")
        if self.place == BUILTIN and (self.name or self.fields):
            raise ValueError("the built-in prompts take no name and no fields")
        if self.place == BUILTIN and self.split not in (None, *get_args(Split)):
            raise ValueError(
                f"the built-in prompts have no split {self.split!r}; allowed: {', '.join(get_args(Split))}"
            )
        if self.place in PUBLISHED and self.name not in (None, self.place):
            raise ValueError(f"source {self.source!r} and name {self.name!r} are two data sets; give one of them")
        if self.split is not None and not (self.place == BUILTIN or self.place in PUBLISHED or is_hub_name(self.place)):
            raise ValueError(
                f"split is of a data set by name or of the hub; {self.place} is read as it is, so leave it out"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_word(self, handler: SerializerFunctionWrapHandler) -> Any:
        """As it was written: what is not set is left out, and a source alone is a word."""
        given = {name: value for name, value in handler(self).items() if value not in (None, {})}
        return given["source"] if given.keys() == {"source"} else given

    def __str__(self) -> str:
        """A name to show: the source, and what of it."""
        what = [word for word in (self.name if self.source else None, self.split) if word]
        return f"{self.place} ({', '.join(what)})" if what else self.place

    @property
    def place(self) -> str:
        """Where the rows are: a word, a path, or a name of the hub."""
        return self.source or self.name or ""

    @property
    def form(self) -> str | None:
        """The published form of the rows, by its data set's name; None for rows with fields of our own names."""
        return self.name or (self.place if self.place in PUBLISHED else None)

    @property
    def needs_download(self) -> bool:
        """Whether the rows come from the hub."""
        return self.place in PUBLISHED or is_hub_name(self.place)


def parse_source(given: SourceSettings | str | Mapping[str, Any]) -> SourceSettings:
    """The settings for what was given outside of a study file. Raises ConfigError for what makes no sense."""
    try:
        return SourceSettings.model_validate(given)
    except ValidationError as error:
        told = "; ".join(str(item["msg"]).removeprefix("Value error, ") for item in error.errors())
        raise ConfigError(f"{given!r} is no source of prompts: {told}") from error
