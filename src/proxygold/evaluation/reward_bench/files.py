"""RewardBench's own files of one reward: accuracies by subset, and every pair with its scores.

The first is what the original tool keeps as `eval-set/ORGANISATION/MODEL.json`, the second what it keeps as
`eval-set-scores/ORGANISATION/MODEL.json`, so that its analysis reads them. Where a pair has no score, the second has
null, which the original never writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.evaluation.reward_bench.pair_scores import PairScores
from proxygold.evaluation.reward_bench.preference_pairs import TestPair
from proxygold.json_lines import finite
from proxygold.records import FloatArray, Message, Prompt
from proxygold.whole_files import write_whole

__all__ = ["write_original_files"]

_TYPE = "Custom Classifier"


def write_original_files(
    directory: Path,
    model: str,
    about: Mapping[str, Any],
    pairs: Sequence[TestPair],
    scores: PairScores,
    right: FloatArray,
) -> dict[str, str]:
    """Write `eval-set.json` and `eval-set-scores.json` of `model`. Returns what they are and where.

    `right`: (n,) 1, 0, or NaN for a pair without a score. A subset none of whose pairs has one is not in the first.
    """
    what = {"model": model, "model_type": _TYPE, "chat_template": "none", **_line(about)}
    subsets = np.array([pair.subset for pair in pairs], dtype=object)
    accuracies = {
        subset: float(np.nanmean(right[subsets == subset]))
        for subset in sorted(set(subsets))
        if not np.isnan(right[subsets == subset]).all()
    }
    columns = {
        "id": [pair.id for pair in pairs],
        "subset": [pair.subset for pair in pairs],
        "text_chosen": [_conversation(pair.prompt, pair.chosen) for pair in pairs],
        "text_rejected": [_conversation(pair.prompt, pair.rejected) for pair in pairs],
        "results": [None if np.isnan(each) else int(each) for each in right],
        "scores_chosen": scores.chosen.tolist(),
        "scores_rejected": scores.rejected.tolist(),
    }
    accuracy_file, score_file = directory / "eval-set.json", directory / "eval-set-scores.json"
    write_whole(accuracy_file, _json({**accuracies, **what}))
    write_whole(score_file, _json({**columns, **what}))
    return {
        f"{model}: accuracies as RewardBench keeps them": str(accuracy_file),
        f"{model}: scores as RewardBench keeps them": str(score_file),
    }


def _line(about: Mapping[str, Any]) -> dict[str, Any]:
    return {"reward": about["reward"]} if "reward" in about else {}


def _conversation(prompt: Prompt, answer: str) -> list[Message]:
    """Messages, as the original has them for whatever is no plain classifier."""
    before = [Message(role="user", content=prompt)] if isinstance(prompt, str) else list(prompt)
    return [*before, Message(role="assistant", content=answer)]


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(finite(content), indent=4, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
