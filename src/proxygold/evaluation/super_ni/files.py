"""Super-NaturalInstructions' files, as the original evaluation script reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.super_ni.data import Instance
from proxygold.evaluation.super_ni.scores import InstanceScores
from proxygold.json_lines import to_json
from proxygold.whole_files import write_whole

__all__ = ["write_references", "write_scores"]


def write_references(directory: EvaluationDirectory, instances: Sequence[Instance]) -> str:
    """Write `references.jsonl`, and say where."""
    rows = [
        {
            "id": instance.id,
            "references": instance.references,
            "task_id": instance.task,
            "task_category": instance.category or "unknown",
            "track": "default",
        }
        for instance in instances
    ]
    return _write(directory.path / "references.jsonl", rows)


def write_scores(
    directory: EvaluationDirectory,
    model: str,
    instances: Sequence[Instance],
    answers: Sequence[str | None],
    scores: InstanceScores,
) -> dict[str, str]:
    """Write a model's `predictions.jsonl`, for the original script, and its `scores.jsonl`, ours of each instance."""
    predictions = [
        {"id": instance.id, "prediction": answer}
        for instance, answer in zip(instances, answers, strict=True)
        if answer is not None
    ]
    columns = asdict(scores)
    each = [
        {"id": instance.id, "task": instance.task, "category": instance.category}
        | {name: values[place] for name, values in columns.items()}
        for place, instance in enumerate(instances)
    ]
    folder = directory.model(model)
    return {
        f"predictions of {model}": _write(folder / "predictions.jsonl", predictions),
        f"scores of {model}": _write(folder / "scores.jsonl", each),
    }


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(f"{to_json(row)}\n" for row in rows))
    return str(path)
