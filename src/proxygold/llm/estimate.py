"""What asking would take, told before anything is paid for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take: rows to be asked about, requests that are different, how many of those are answered.

    `tokens_in` is an estimate; `tokens_out` the most that the answers can have, None when nothing limits them. `cost`:
    None without prices. `max_cost` is the limit that the run would stop at, if it has one.
    """

    model: str
    endpoint: str
    rows: int
    distinct: int
    answered: int
    tokens_in: int
    tokens_out: int | None
    cost: float | None
    max_cost: float | None = None

    @property
    def to_ask(self) -> int:
        return self.distinct - self.answered

    def sentences(self, noun: str = "row") -> list[str]:
        """For the user: how much is asked, and what it costs if anything is."""
        told = [
            f"{_count(self.rows, noun)}, {self.distinct:,} different, {self.answered:,} answered before: "
            f"{_count(self.to_ask, 'request')} to {self.model} at {self.endpoint}"
        ]
        if self.to_ask:
            out = "answers of any length" if self.tokens_out is None else f"at most {self.tokens_out:,} out"
            told.append(f"about {self.tokens_in:,} tokens in, {out}{self._cost()}")
        return told

    def _cost(self) -> str:
        if self.cost is None:
            return ""
        cost = f": {'at least' if self.tokens_out is None else 'at most about'} {self.cost:.4g}"
        if self.max_cost is not None and self.cost > self.max_cost:
            cost += f", and the run stops at {self.max_cost:g}"
        return cost


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
