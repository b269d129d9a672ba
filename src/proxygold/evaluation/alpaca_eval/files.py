"""AlpacaEval's files, as version 0.6 writes and reads them: model_outputs.json, annotations.json, leaderboard.csv."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.data.files import RejectedRow, read_rows
from proxygold.errors import DataError
from proxygold.evaluation.alpaca_eval.instructions import Comparison
from proxygold.evaluation.alpaca_eval.parsers import TIE
from proxygold.json_lines import finite
from proxygold.records import FloatArray
from proxygold.whole_files import write_whole

__all__ = [
    "LEADERBOARD_COLUMNS",
    "Annotation",
    "AnnotatedModel",
    "discrete_wins",
    "leaderboard_row",
    "read_annotations",
    "write_annotations",
    "write_leaderboard",
    "write_model_outputs",
]

LEADERBOARD_COLUMNS = (
    *("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total"),
    *("mode", "avg_length", "discrete_win_rate"),
)
_MODE = "community"  # what AlpacaEval calls whoever is not on its own leaderboard
_NEEDED = ("instruction", "output_1", "output_2")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A model's answer beside the reference's. `output` None: the model gave none.

    `preference`: from 1, the reference is better, to 2, the model is; NaN: not judged. `said`: the judge's own words,
    about the answers in the order in which it saw them.
    """

    comparison: Comparison
    output: str | None
    preference: float
    said: str = ""


@dataclass(frozen=True, slots=True)
class AnnotatedModel:
    """A model with an annotation for each comparison. `left_out`: how many have no preference, by the reason."""

    name: str
    annotator: str
    annotations: Sequence[Annotation]
    left_out: Mapping[str, int]
    about: Mapping[str, Any]

    def wins(self) -> FloatArray:
        """(n,) preferences from 0 to 1, NaN without one."""
        return np.array([annotation.preference for annotation in self.annotations], dtype=np.float64) - 1.0

    def longer(self) -> FloatArray:
        """(n,) characters by which answers are longer than the reference's, NaN without an answer."""
        return self.lengths() - np.array([len(each.comparison.reference) for each in self.annotations], np.float64)

    def lengths(self) -> FloatArray:
        """(n,) characters of answers, NaN without one."""
        return np.array([math.nan if each.output is None else len(each.output) for each in self.annotations])


def write_model_outputs(path: Path, name: str, answered: Iterable[tuple[Comparison, str | None]]) -> None:
    """The answers there are, as `alpaca_eval --model_outputs` takes them."""
    _write_json(
        path,
        [
            _without_none({"dataset": comparison.dataset})
            | {"instruction": comparison.instruction, "output": output, "generator": name}
            for comparison, output in answered
            if output is not None
        ],
    )


def write_annotations(path: Path, model: AnnotatedModel) -> None:
    """The comparisons of which there are both answers; a preference that is missing is null."""
    rows = []
    for each in model.annotations:
        if each.output is None:
            continue
        comparison = each.comparison
        rows.append(
            {
                "instruction": comparison.instruction,
                "output_1": comparison.reference,
                "generator_1": comparison.generator,
                **_without_none({"dataset": comparison.dataset}),
                "output_2": each.output,
                "generator_2": model.name,
                "annotator": model.annotator,
                "preference": each.preference,
                "preference_raw_completion": each.said or None,
            }
        )
    _write_json(path, rows)


def read_annotations(path: Path) -> tuple[list[AnnotatedModel], list[RejectedRow]]:
    """The models of a recorded run, in the order in which they come, and the rows that are no annotations.

    A preference of null is one that the judge did not give; 0 is how AlpacaEval once wrote a tie. Raises DataError
    when the file cannot be read, or holds no annotations.
    """
    by_model: dict[str, list[Annotation]] = {}
    annotators: dict[str, str] = {}
    rejected: list[RejectedRow] = []
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        values = row.values
        try:
            preference = _preference(values)
        except DataError as error:
            rejected.append(RejectedRow(path, row.line, str(error)))
            continue
        name = str(values.get("generator_2") or "model")
        annotations = by_model.setdefault(name, [])
        dataset = values.get("dataset")
        comparison = Comparison(
            len(annotations),
            values["instruction"],
            values["output_1"],
            str(values.get("generator_1") or "reference"),
            None if dataset is None else str(dataset),
        )
        said = values.get("preference_raw_completion")
        annotations.append(
            Annotation(comparison, values["output_2"], preference, said if isinstance(said, str) else "")
        )
        annotators.setdefault(name, str(values.get("annotator") or "unknown"))
    if not by_model:
        first = rejected[0] if rejected else "no row"
        raise DataError(f"{path} holds no annotations of AlpacaEval's, with {', '.join(_NEEDED)}, preference: {first}")
    return [
        AnnotatedModel(name, annotators[name], annotations, _unjudged(annotations), {"annotations": str(path)})
        for name, annotations in by_model.items()
    ], rejected


def leaderboard_row(model: AnnotatedModel) -> dict[str, Any]:
    """AlpacaEval's numbers: the win rate and its standard error in percent, with a tie as half a win."""
    wins = model.wins()
    wins = wins[~np.isnan(wins)]
    n = len(wins)
    lengths = [len(each.output) for each in model.annotations if each.output is not None]
    return {
        "win_rate": float(wins.mean()) * 100 if n else math.nan,
        "standard_error": float(wins.std(ddof=1) / math.sqrt(n)) * 100 if n > 1 else math.nan,
        "n_wins": int((wins > 0.5).sum()),
        "n_wins_base": int((wins < 0.5).sum()),
        "n_draws": int((wins == 0.5).sum()),
        "n_total": n,
        "mode": _MODE,
        "avg_length": int(np.mean(lengths)) if lengths else 0,
        "discrete_win_rate": float(discrete_wins(wins).mean()) * 100 if n else math.nan,
    }


def discrete_wins(wins: FloatArray) -> FloatArray:
    """(n,) preferences from 0 to 1 as a loss, a tie or a win: 0, 0.5 or 1."""
    return np.where(wins == 0.5, 0.5, np.round(wins))  # NaN stays


def write_leaderboard(path: Path, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """A line a model, the best first. Columns beyond AlpacaEval's come after them."""
    more = dict.fromkeys(key for row in rows.values() for key in row if key not in LEADERBOARD_COLUMNS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = (*LEADERBOARD_COLUMNS, *more)
    writer.writerow(("", *columns))
    for name, row in sorted(rows.items(), key=lambda item: _descending(item[1]["win_rate"])):
        writer.writerow(
            (name, *("" if (value := row.get(key)) is None or value != value else value for key in columns))
        )
    write_whole(path, text.getvalue())


def _descending(rate: float) -> float:
    return math.inf if math.isnan(rate) else -rate


def _preference(values: Mapping[str, Any]) -> float:
    """The preference of a row, NaN for null. Raises DataError for a row that is no annotation."""
    for name in _NEEDED:
        if not isinstance(values.get(name), str):
            raise DataError(f"there is no {name} as text; the row has {', '.join(values)}")
    if "preference" not in values:
        raise DataError(f"there is no preference; the row has {', '.join(values)}")
    given = values["preference"]
    if given is None:
        return math.nan
    if isinstance(given, bool) or not isinstance(given, int | float) or not (given == 0 or 1 <= given <= 2):
        raise DataError(f"the preference is {given!r}; allowed: a number from 1 to 2, 0 for a tie, null for none")
    return TIE if given == 0 else float(given)


def _unjudged(annotations: Sequence[Annotation]) -> dict[str, int]:
    missing = sum(math.isnan(each.preference) for each in annotations)
    return {"no preference recorded": missing} if missing else {}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _write_json(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_whole(path, json.dumps(finite(rows), indent=2, ensure_ascii=False) + "\n")
