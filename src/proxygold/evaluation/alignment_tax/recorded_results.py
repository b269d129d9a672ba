"""An evaluation that was made before, read back from its results.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from proxygold.errors import DataError
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.results import Difference, Evaluation, Metric, ModelResult

__all__ = ["read_evaluation"]

_Record = TypeVar("_Record", Metric, Difference)


def read_evaluation(path: Path, benchmark: str) -> Evaluation:
    """The evaluation in `path`, a results.json or the directory that it is in.

    Raises DataError when there is none, when it cannot be read, and when it is of another benchmark.
    """
    file = EvaluationDirectory(path).results_file if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        evaluation = Evaluation(
            found["benchmark"],
            found["settings"],
            [_model(each) for each in found["models"]],
            [_record(Difference, each) for each in found["differences"]],
            found["notes"],
            found["files"],
            found.get("rejected", ()),
        )
    except FileNotFoundError as error:
        raise DataError(
            f"there is no {file}. Give the directory of a finished proxygold eval {benchmark}, or its results.json."
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is no results.json of proxygold eval ({type(error).__name__}: {error}).") from error
    if evaluation.benchmark != benchmark:
        raise DataError(f"{file} is of {evaluation.benchmark}, and {benchmark} is needed here.")
    return evaluation


def _model(found: Mapping[str, Any]) -> ModelResult:
    metrics = [_record(Metric, metric) for metric in found["metrics"]]
    return ModelResult(found["model"], metrics, found["left_out"], found["about"])


def _record(kind: type[_Record], found: Mapping[str, Any]) -> _Record:
    """With NaN for null, which JSON has in its place."""
    names = {field.name for field in fields(kind)}
    values: dict[str, Any] = {name: math.nan if value is None else value for name, value in found.items()}
    return kind(**{name: value for name, value in values.items() if name in names})
