"""Scores that some other trainer or tool made: one table, a row for each prompt at each checkpoint.

Columns: `step`, `prompt_id`, `proxy`, `gold`, and if there are any `query_type`, `seed`, `reward` (a name).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.analysis.scores import ArmScores, StepScores, arrange
from proxygold.errors import DataError
from proxygold.records import QUERY_TYPE_ALIASES

__all__ = ["read_score_file"]

REQUIRED = ("step", "prompt_id", "proxy", "gold")
OPTIONAL = ("query_type", "seed", "reward")

# A checkpoint by its arm and step, to prompt ids, to their rows.
_Checkpoints = dict[tuple[str, int], dict[int, dict[str, Mapping[str, Any]]]]


def read_score_file(path: Path) -> list[ArmScores]:
    """Read a Parquet or JSONL table of scores into one arm for each reward and seed.

    Without a column `reward` the reward is called after the file; without `seed` the seed is 0. Null scores
    are NaN. Raises DataError, with the row, when a column is missing, a value has the wrong type, or a prompt
    occurs twice at a step.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file. Give a Parquet or JSONL table with {', '.join(REQUIRED)}.")
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _jsonl_rows(path)
    if not rows:
        raise DataError(f"{path} has no rows; every row needs {', '.join(REQUIRED)}.")
    checkpoints: _Checkpoints = {}
    for where, row in rows:
        _place(where, row, path.stem, checkpoints)
    return [
        arrange(reward, seed, {step: _step_scores(by_prompt) for step, by_prompt in by_step.items()})
        for (reward, seed), by_step in checkpoints.items()
    ]


def _parquet_rows(path: Path) -> list[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    known = [name for name in (*REQUIRED, *OPTIONAL) if name in table.column_names]
    rows = table.select(known).to_pylist()
    return [(f"{path}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _jsonl_rows(path: Path) -> list[tuple[str, Any]]:
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                rows.append((f"{path}:{number}", json.loads(line)))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number} is not a JSON object: {error}.") from error
    return rows


def _place(where: str, row: Any, default_reward: str, checkpoints: _Checkpoints) -> None:
    if not isinstance(row, dict) or any(name not in row for name in REQUIRED):
        missing = [name for name in REQUIRED if not isinstance(row, dict) or name not in row]
        raise DataError(f"{where} lacks {', '.join(missing)}; every row needs {', '.join(REQUIRED)}.")
    for name, types in (("step", int), ("seed", int), ("proxy", (int, float)), ("gold", (int, float))):
        value = row.get(name)
        optional = name != "step"
        if isinstance(value, bool) or not (isinstance(value, types) or (optional and value is None)):
            kind = "a whole number" if types is int else "a number, or null when it could not be computed"
            raise DataError(f"{where}: {name} is {value!r}; it must be {kind}.")
    query_type = row.get("query_type")
    if query_type is not None and query_type not in QUERY_TYPE_ALIASES:
        allowed = ", ".join(QUERY_TYPE_ALIASES)
        raise DataError(f"{where}: query_type is {query_type!r}; it must be one of {allowed}.")
    arm = (str(row.get("reward") or default_reward), row.get("seed") or 0)
    by_prompt = checkpoints.setdefault(arm, {}).setdefault(row["step"], {})
    prompt_id = str(row["prompt_id"])
    if prompt_id in by_prompt:
        raise DataError(
            f"{where}: prompt {prompt_id} occurs twice at step {row['step']}. Give each prompt once a step; "
            "several training runs "
            "need a column seed, several rewards a column reward."
        )
    by_prompt[prompt_id] = row


def _step_scores(by_prompt: Mapping[str, Mapping[str, Any]]) -> StepScores:
    def scores(name: str) -> Any:
        values = [np.nan if row[name] is None else row[name] for row in by_prompt.values()]
        return np.array(values, dtype=np.float64)

    query_types = [row.get("query_type") for row in by_prompt.values()]
    return StepScores(
        prompt_ids=list(by_prompt),
        query_types=[None if query_type is None else QUERY_TYPE_ALIASES[query_type] for query_type in query_types],
        proxy=scores("proxy"),
        gold=scores("gold"),
        parts={},
    )
