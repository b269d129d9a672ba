"""What every benchmark of `eval` does around its own work: where files go, who holds them, what is printed."""

from __future__ import annotations

import platform
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from proxygold.errors import ConfigError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation
from proxygold.store import RunDirectory

__all__ = ["EvalProgress", "evaluation_directory", "run_evaluation"]

# The packages that can change a number.
_PACKAGES = ("torch", "transformers", "peft", "vllm", "tokenizers", "openai", "numpy", "scipy")


def run_evaluation(
    benchmark: str,
    out: Path | None,
    subjects: Sequence[Subject | GivenOutputs],
    evaluate: Callable[[EvaluationDirectory, EvalProgress], Evaluation],
    *,
    strict: bool = False,
    progress: EvalProgress | None = None,
) -> None:
    """Evaluate while holding the directory, write the results, and print them and where they are.

    `subjects` say where files go when `out` does not, and what of them was left out. Raises StoreError when another
    evaluation holds the directory, and typer.Exit(2) under `strict` when anything was left out.
    """
    from proxygold.cli.evals.printing import print_evaluation

    directory = evaluation_directory(benchmark, out, subjects)
    _check_directories(directory, subjects)
    with directory.lock():
        evaluation = evaluate(directory, progress or EvalProgress())
        directory.write(evaluation, _made_with())
        lists = [file for subject in subjects if (file := _write_left_out(directory, subject)) is not None]
    print_evaluation(evaluation)
    for file in lists:
        print(f"left out  {file}")
    for what, path in evaluation.files.items():
        print(f"{what}  {path}")
    print(f"results  {directory.results_file}")
    print(f"table  {directory.table_file}")
    if strict and (lists or evaluation.rejected or any(sum(result.left_out.values()) for result in evaluation.models)):
        raise typer.Exit(2)


def evaluation_directory(
    benchmark: str, out: Path | None, subjects: Sequence[Subject | GivenOutputs]
) -> EvaluationDirectory:
    """`out`; without it `evals/BENCHMARK` in the run that the checkpoints are of, and here when they are of none."""
    if out is not None:
        return EvaluationDirectory(out)
    places = [subject.about.get(key) for subject in subjects for key in ("adapter", "model", "outputs")]
    runs = {run for place in places if isinstance(place, str) and (run := _run_of(Path(place))) is not None}
    if len(runs) == 1:
        return EvaluationDirectory(RunDirectory(runs.pop()).evaluation(benchmark))
    return EvaluationDirectory(Path("evals") / benchmark)


def _run_of(path: Path) -> Path | None:
    """The run that a checkpoint or a file of answers lies in, as `RUN/REWARD/seed-N/…`."""
    if not path.expanduser().exists():
        return None  # a hub id
    above = [parent for parent in path.expanduser().parents if RunDirectory(parent).exists()]
    return above[0] if above else None


def _check_directories(directory: EvaluationDirectory, subjects: Sequence[Subject | GivenOutputs]) -> None:
    """Raises ConfigError when two names would share a directory: characters that no file name has become one."""
    names = [subject.name for subject in subjects]
    for place, count in Counter(map(directory.model, names)).items():
        if count > 1:
            same = [name for name in names if directory.model(name) == place]
            raise ConfigError(f"{' and '.join(map(repr, same))} would both be kept in {place}. Give one another NAME=.")


def _write_left_out(directory: EvaluationDirectory, subject: Subject | GivenOutputs) -> Path | None:
    if isinstance(subject, GivenOutputs):
        rows: list[dict[str, Any]] = [
            {"path": str(row.path), "line": row.line, "reason": row.reason}
            for row in (*subject.rejected, *subject.without_answer())
        ]
    else:
        rows = [{"id": id_, "reason": reason} for id_, reason in subject.left_out.items()]
    return directory.write_left_out(subject.name, rows)


def _made_with() -> dict[str, Any]:
    """Versions, date and command, whose URLs keep no password. Loads nothing."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [re.sub(r"(https?://)[^/@\s]+@", r"\1", word) for word in sys.argv],
        "proxygold": metadata.version("proxygold"),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
