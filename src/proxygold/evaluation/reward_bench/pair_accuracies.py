"""Accuracies over preference pairs with intervals: of each subset, of weighted sections, of all pairs pooled.

The bootstrap draws prompts, not pairs: pairs of one prompt share what is easy or hard about it, and counting them as so
many independent pairs would make intervals too narrow. Every number is made from the same draws, so that the difference
of two rewards has an interval of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxygold.analysis.bootstrap import prompt_counts
from proxygold.evaluation.statistics import DRAWS
from proxygold.records import FloatArray

__all__ = ["PROMPT_INTERVAL", "Aggregate", "DrawnAccuracies", "PairBootstrap"]

PROMPT_INTERVAL = f"95% percentile bootstrap over prompts with all their pairs, {DRAWS:,} draws, seed 0"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One accuracy out of those of subsets.

    `parts` are sets of subsets. The accuracy of a part with weights is the weighted mean of its subsets' accuracies;
    the pairs of a part without are pooled. The aggregate is the plain mean of its parts. `group` is what results call
    it.
    """

    group: str
    parts: tuple[Mapping[str, float] | frozenset[str], ...]

    @property
    def subsets(self) -> frozenset[str]:
        return frozenset().union(*self.parts)


@dataclass(frozen=True, slots=True)
class DrawnAccuracies:
    """One judge's aggregates: `values` (a,), `drawn` (draws, a), and of how many pairs each is, `n` (a,)."""

    values: FloatArray
    drawn: FloatArray
    n: NDArray[np.int64]


class PairBootstrap:
    """n pairs by subset and prompt, and the draws of them."""

    def __init__(self, subsets: Sequence[str], prompts: Sequence[Hashable], draws: int = DRAWS) -> None:
        """`subsets`, `prompts`: of each pair. Pairs with equal prompts are drawn together."""
        self.names = sorted(set(subsets))
        places = {name: place for place, name in enumerate(self.names)}
        numbers: dict[Hashable, int] = {}
        self._prompt = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], dtype=np.intp)
        self._subset = np.array([places[subset] for subset in subsets], dtype=np.intp)
        self.prompts, self._draws = len(numbers), draws

    def accuracies(self, right: Sequence[FloatArray], aggregates: Sequence[Aggregate]) -> list[DrawnAccuracies]:
        """The aggregates of each judge in `right`: (n,) with 1 right, 0 wrong, NaN where the pair does not count."""
        if not right:
            return []
        sums = np.concatenate([self._sums(each) for each in right], axis=1)  # (prompts, judges * 2 * subsets)
        whole = self._shaped(sums.sum(axis=0, keepdims=True))
        drawn = np.concatenate(
            [
                self._aggregate(self._shaped(counts @ sums), aggregates)
                for counts in prompt_counts(self.prompts, self._draws, 0)
            ],
            axis=1,
        )
        values = self._aggregate(whole, aggregates)[:, 0]
        n = np.array(
            [
                [whole[judge, 0, 1, self._places(each.subsets)].sum() for each in aggregates]
                for judge in range(len(right))
            ]
        )
        return [DrawnAccuracies(*each) for each in zip(values, drawn, n.astype(np.int64), strict=True)]

    def coin(self, counted: NDArray[np.bool_], aggregates: Sequence[Aggregate]) -> DrawnAccuracies:
        """What a coin tossed for each of the pairs in `counted`, (n,), gives: one half, and how far luck takes it."""
        sizes = np.bincount(self._subset[counted], minlength=len(self.names))
        tosses = np.random.default_rng([0, 2]).binomial(sizes, 0.5, size=(self._draws, len(sizes)))
        sums = np.stack([tosses, np.broadcast_to(sizes, tosses.shape)], axis=1)[None].astype(np.float64)
        n = np.array([sizes[self._places(each.subsets)].sum() for each in aggregates], dtype=np.int64)
        return DrawnAccuracies(np.where(n > 0, 0.5, np.nan), self._aggregate(sums, aggregates)[0], n)

    def count(self, selected: NDArray[np.bool_], aggregate: Aggregate) -> int:
        """How many of the `selected` pairs, (n,), are in the aggregate's subsets."""
        return int(np.isin(self._subset[selected], self._places(aggregate.subsets)).sum())

    def _sums(self, right: FloatArray) -> FloatArray:
        """(prompts, 2 * subsets): of each prompt how many pairs of each subset were right, and how many counted."""
        counted = ~np.isnan(right)
        sums = np.zeros((2, self.prompts, len(self.names)))
        np.add.at(sums[0], (self._prompt[counted], self._subset[counted]), right[counted])
        np.add.at(sums[1], (self._prompt[counted], self._subset[counted]), 1.0)
        return sums.transpose(1, 0, 2).reshape(self.prompts, -1)

    def _shaped(self, sums: FloatArray) -> FloatArray:
        """(judges, draws, 2, subsets)."""
        return sums.reshape(len(sums), -1, 2, len(self.names)).transpose(1, 0, 2, 3)

    def _aggregate(self, sums: FloatArray, aggregates: Sequence[Aggregate]) -> FloatArray:
        """(judges, draws, aggregates)."""
        columns = []
        for aggregate in aggregates:
            parts = np.stack([self._part(sums, part) for part in aggregate.parts])
            has = ~np.isnan(parts)
            with np.errstate(invalid="ignore"):
                columns.append(np.where(has, parts, 0.0).sum(axis=0) / has.sum(axis=0))
        return np.stack(columns, axis=-1)

    def _part(self, sums: FloatArray, part: Mapping[str, float] | frozenset[str]) -> FloatArray:
        """(judges, draws). A subset of which a draw has no pair has no weight in it."""
        places = self._places(part)
        right, counted = sums[..., 0, places], sums[..., 1, places]
        with np.errstate(invalid="ignore"):
            if not isinstance(part, Mapping):
                pooled: FloatArray = right.sum(axis=-1) / counted.sum(axis=-1)
                return pooled
            weights = np.array([part[self.names[place]] for place in places]) * (counted > 0)
            weighted: FloatArray = (weights * right / np.maximum(counted, 1.0)).sum(axis=-1) / weights.sum(axis=-1)
            return weighted

    def _places(self, subsets: Mapping[str, float] | frozenset[str]) -> list[int]:
        return [place for place, name in enumerate(self.names) if name in subsets]
