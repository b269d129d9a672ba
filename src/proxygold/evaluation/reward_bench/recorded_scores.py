"""Scores of preference pairs that exist already: RewardBench's own file of them, or rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.errors import DataError
from proxygold.evaluation.answers.outputs import read_outputs
from proxygold.evaluation.reward_bench.pair_scores import PairScores
from proxygold.evaluation.reward_bench.preference_pairs import TestPair

__all__ = ["RecordedScores", "read_recorded_scores"]

# Under which names the two scores of a pair are found: RewardBench's, ours.
_COLUMNS = (("scores_chosen", "scores_rejected"), ("chosen", "rejected"))


@dataclass(frozen=True, slots=True)
class RecordedScores:
    """Scores that exist already, by the id of their pair."""

    name: str
    path: Path
    scores: Mapping[str, tuple[float, float]]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directory_name(self) -> str:
        return self.name

    def score(
        self,
        pairs: Sequence[TestPair],
        file: Path,
        *,
        force: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> PairScores:
        """The scores of `pairs`. Nothing is written. Raises DataError when no pair's id is among the scores."""
        nothing = (float("nan"), float("nan"))
        found = np.array([self.scores.get(pair.id, nothing) for pair in pairs], dtype=np.float64)
        absent = [pair.id not in self.scores for pair in pairs]
        if all(absent):
            some, others = next(iter(self.scores)), pairs[0].id
            raise DataError(
                f"{self.path} has no score of any pair: its ids are such as {some!r}, those of the pairs such as "
                f"{others!r}. Give the pairs that were scored."
            )
        reasons = tuple("no score in the file" if np.isnan(row).any() else None for row in found)
        progress(len(pairs))
        return PairScores(found[:, 0], found[:, 1], reasons)


def read_recorded_scores(path: Path, name: str) -> RecordedScores:
    """Scores from RewardBench's own file of them (an object of columns), or from rows of JSON, JSONL or Parquet.

    Each has `id`, and `scores_chosen` and `scores_rejected`, or `chosen` and `rejected` as in a `scores.jsonl`. Raises
    DataError for a file that has them not.
    """
    columns = _object_of_columns(path)
    rows = read_outputs(path, name).rows if columns is None else columns
    names = next((pair for pair in _COLUMNS if all(pair[0] in row and pair[1] in row for row in rows)), None)
    if names is None or not all("id" in row for row in rows):
        has = ", ".join(dict.fromkeys(key for row in rows for key in row)) or "nothing"
        raise DataError(
            f"{path} has no scores of pairs: its rows have {has}. Needed are id, scores_chosen and scores_rejected, as "
            "in RewardBench's files of scores."
        )
    try:
        scores = {str(row["id"]): (_number(row[names[0]]), _number(row[names[1]])) for row in rows}
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} has a score that is no number: {error}.") from error
    return RecordedScores(name, path, scores, {"scores": str(path), "rows": len(rows)})


def _object_of_columns(path: Path) -> Sequence[Mapping[str, Any]] | None:
    """The rows of a .json file that is one object of equally long columns; None for any other file."""
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        return None
    columns = {key: values for key, values in content.items() if isinstance(values, list)}
    longest = max(map(len, columns.values()), default=0)
    return [
        {key: values[place] for key, values in columns.items() if len(values) == longest} for place in range(longest)
    ]


def _number(value: Any) -> float:
    """A score; the original tool writes those of some models as lists of one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return float("nan") if value is None else float(value)
