"""What AlpacaEval asks, and the answers that others are compared with: its 805 instructions, or any set in its form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxygold.data.files import RejectedRow
from proxygold.data.prompt_sets import published_rows
from proxygold.data.published import PUBLISHED
from proxygold.data.rows import prompt_from_row
from proxygold.data.source_settings import parse_source
from proxygold.data.typed_prompts import QueryTypeSettings, with_query_types
from proxygold.errors import ConfigError, DataError
from proxygold.records import PromptRecord

__all__ = ["ALPACA_EVAL", "Comparison", "ReferenceSet", "read_reference_set"]

ALPACA_EVAL = "alpaca_eval"
_UNNAMED = "reference"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One instruction with the answer to beat. `number` is its place in the set, from 0, which AlpacaEval calls index.

    `dataset` is which of AlpacaEval's sources it is from.
    """

    number: int
    instruction: str
    reference: str
    generator: str
    dataset: str | None = None
    query_type: str | None = None


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """The comparisons of a source, in its order, and the rows that are none. Each instruction comes once."""

    source: str
    items: Sequence[Comparison]
    rejected: Sequence[RejectedRow] = ()

    @property
    def generator(self) -> str:
        """The name of the model that gave the answers to beat."""
        names = list(dict.fromkeys(item.generator for item in self.items))
        return names[0] if len(names) == 1 else _UNNAMED


def read_reference_set(
    source: str = ALPACA_EVAL, limit: int | None = None, query_types: str | None = None
) -> ReferenceSet:
    """The answers of a model in AlpacaEval's form: rows with `instruction`, `output` and `generator`.

    `source` is `alpaca_eval`, which the hub has with text-davinci-003's answers, or whatever `score` reads, of that
    form. `query_types`: `local` gives a type to each instruction without one, by the classifier that ships. Raises
    DataError when it cannot be read, or no row can be used, and ConfigError for other `query_types`.
    """
    if query_types not in (None, "local"):
        raise ConfigError(f"query types by {query_types!r} are not known. Allowed: local, or leave it out.")
    settings = parse_source(source if source in PUBLISHED else {"source": source, "name": ALPACA_EVAL})
    items: dict[str, Comparison] = {}
    rejected: list[RejectedRow] = []
    for number, row in enumerate(published_rows(settings, "validation")):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        try:
            record = prompt_from_row(row.values, row.default_id)
        except DataError as error:
            rejected.append(RejectedRow(row.place, row.line, str(error)))
            continue
        instruction, columns = str(record.prompt), record.columns
        if record.reference is None:
            rejected.append(RejectedRow(row.place, row.line, "there is no output to compare with"))
        elif instruction in items:
            rejected.append(RejectedRow(row.place, row.line, "the instruction came before"))
        else:
            items[instruction] = Comparison(
                number,
                instruction,
                record.reference,
                str(columns.get("generator") or _UNNAMED),
                None if columns.get("dataset") is None else str(columns["dataset"]),
                record.query_type,
            )
        if len(items) == limit:
            break
    if not items:
        raise DataError(f"no row of {source} can be compared with. The first: {rejected[0] if rejected else 'none'}")
    return ReferenceSet(source, _typed(list(items.values()), query_types), tuple(rejected))


def _typed(items: Sequence[Comparison], by: str | None) -> tuple[Comparison, ...]:
    records = [PromptRecord(str(item.number), item.instruction, query_type=item.query_type) for item in items]
    typed = with_query_types(records, None if by is None else QueryTypeSettings(by="local"))
    return tuple(replace(item, query_type=record.query_type) for item, record in zip(items, typed, strict=True))
