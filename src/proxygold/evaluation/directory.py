"""Where an evaluation's files lie. The only code that knows their names.

DIR/results.json  results.csv         what was found, for programs and for spreadsheets
DIR/MODEL/answers.jsonl               what a model answered, as it came
DIR/MODEL/left_out.jsonl              what could not be answered or read, each with the reason
DIR/MODEL/verdicts.jsonl              what a judge said, as it came
DIR/MODEL/…                           the original tool's own files
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxygold.evaluation.results import Evaluation
from proxygold.json_lines import finite, to_json
from proxygold.whole_files import held_directory, write_whole

__all__ = ["EvaluationDirectory"]

_COLUMNS = (
    *("benchmark", "model", "group", "metric", "value", "low", "high", "standard_error"),
    *("n_scored", "n_total", "interval", "baseline"),
)


class EvaluationDirectory:
    """One benchmark's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def results_file(self) -> Path:
        return self.path / "results.json"

    @property
    def table_file(self) -> Path:
        return self.path / "results.csv"

    def model(self, name: str) -> Path:
        """The directory of a model's files. `name` may have any characters."""
        return self.path / (re.sub(r"[^\w.+-]+", "_", name).strip("._") or "model")

    def answers_file(self, model: str) -> Path:
        return self.model(model) / "answers.jsonl"

    def verdicts_file(self, model: str) -> Path:
        return self.model(model) / "verdicts.jsonl"

    def left_out_file(self, model: str) -> Path:
        return self.model(model) / "left_out.jsonl"

    def write_left_out(self, model: str, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        """Write what was left out and why, if anything was; the list of an earlier run goes. Returns the file."""
        file = self.left_out_file(model)
        if not rows:
            file.unlink(missing_ok=True)
            return None
        write_whole(file, "".join(to_json(row) + "\n" for row in rows))
        return file

    def lock(self) -> AbstractContextManager[None]:
        """Hold the directory for one process. Raises StoreError at once when another one holds it."""
        return held_directory(self.path, "evaluation. Wait for it, or give another --out.")

    def write(self, evaluation: Evaluation, made_with: Mapping[str, Any] | None = None) -> None:
        """Write results.json and results.csv, each whole or not at all. `made_with`: versions, date, command."""
        found = asdict(evaluation) | ({} if made_with is None else {"made_with": dict(made_with)})
        write_whole(self.results_file, json.dumps(finite(found), indent=2, ensure_ascii=False) + "\n")
        write_whole(self.table_file, _table(evaluation))


def _table(evaluation: Evaluation) -> str:
    """Metrics, then differences: those have a baseline."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for result in evaluation.models:
        for metric in result.metrics:
            row = {key: value for key, value in asdict(metric).items() if key in _COLUMNS}
            row |= {"benchmark": evaluation.benchmark, "model": result.model, "metric": metric.name}
            writer.writerow(_written(row))
    for difference in evaluation.differences:
        row = {key: value for key, value in asdict(difference).items() if key in _COLUMNS}
        row |= {"benchmark": evaluation.benchmark, "metric": difference.name}
        row |= {"n_scored": difference.n, "n_total": difference.n}
        writer.writerow(_written(row))
    return text.getvalue()


def _written(row: dict[str, object]) -> dict[str, object]:
    """NaN as an empty cell."""
    return {key: "" if value != value else value for key, value in row.items()}
