"""Scores of a reward model for answers, kept in a file as they are made: a large model's are dear.

JSON, a score a line: `key`, a hash of prompt, answer and of all that decides the model's scores; `score`, null where
there is none, and then the `reason`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from proxygold.json_lines import iterate_jsonl, to_json
from proxygold.models.reward_models import open_reward_model, reward_model_identity
from proxygold.models.reward_settings import RewardModelSettings
from proxygold.records import Example, FloatArray
from proxygold.whole_files import storage_error

__all__ = ["score_answers"]

# Batches of the reward model's that are written together: enough for answers of like length to share one.
_BATCHES = 8

Score = tuple[float, str | None]


def score_answers(
    examples: Sequence[Example],
    settings: RewardModelSettings,
    file: Path,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[FloatArray, tuple[str | None, ...]]:
    """Scores (n,) float64 and n reasons, as `RewardModel.score` gives them; what is in `file` is not scored again.

    The model is loaded only when something is missing. Raises ModelError, and StoreError when the file is damaged or
    the disk refuses.
    """
    identity = (
        f"{reward_model_identity(settings)} {settings.model_dump_json(exclude={'batch_size', 'device', 'model'})}"
    )
    keys = [_key(identity, example) for example in examples]
    known = _read(file)
    open_ = {key: example for key, example in zip(keys, examples, strict=True) if key not in known}
    progress(sum(key in known for key in keys))
    # The longest first: what does not fit into memory shows at once.
    rest = sorted(open_, key=lambda key: len(open_[key].completion), reverse=True)
    size = settings.batch_size * _BATCHES
    for start in range(0, len(rest), size):
        chosen = rest[start : start + size]
        scores, reasons = open_reward_model(settings).score([open_[key] for key in chosen])
        found = dict(zip(chosen, zip(scores.tolist(), reasons, strict=True), strict=True))
        _append(file, found)
        known |= found
        progress(sum(key in found for key in keys))
    return np.array([known[key][0] for key in keys], dtype=np.float64), tuple(known[key][1] for key in keys)


def _key(identity: str, example: Example) -> str:
    said = to_json([identity, example.prompt, example.completion])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _read(file: Path) -> dict[str, Score]:
    if not file.exists():
        return {}
    whole, newline, _ = file.read_bytes().rpartition(b"\n")  # a killed process may leave half a line
    remedy = "Delete that line: its answer is scored again."
    rows = iterate_jsonl(file, whole + newline, {"key", "score", "reason"}, None, remedy)
    return {row["key"]: (math.nan if row["score"] is None else float(row["score"]), row["reason"]) for row in rows}


def _append(file: Path, found: dict[str, Score]) -> None:
    lines = "".join(to_json({"key": key, "score": score, "reason": why}) + "\n" for key, (score, why) in found.items())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab+") as opened:
            end = file.read_bytes().rfind(b"\n") + 1
            if end < file.stat().st_size:
                opened.truncate(end)
            opened.write(lines.encode())
    except OSError as error:
        raise storage_error(file, error) from error
