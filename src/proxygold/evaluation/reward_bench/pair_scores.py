"""A reward's scores of preference pairs, computed and written down as they come.

`scores.jsonl` has a line a pair: `id`, `chosen` and `rejected` (the scores, null where there is none, with the
`reason`), the `parts` of each, `reward_id`, and `of`, a hash of what was scored, by which a pair is known again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.errors import RewardError, StoreError
from proxygold.evaluation.reward_bench.preference_pairs import TestPair
from proxygold.json_lines import parse_jsonl, to_json
from proxygold.records import FloatArray
from proxygold.rewards.runtime import Reward
from proxygold.whole_files import storage_error, write_whole

__all__ = ["PairScores", "RewardJudge"]

# Pairs that are scored before their scores are written down. Enough to batch texts by length.
_AT_ONCE = 64
_NEEDED = {"id", "of", "reward_id", "chosen", "rejected", "reason", "parts"}
_REMEDY = "Delete that line, and its pair is scored again."


@dataclass(frozen=True, slots=True)
class PairScores:
    """n pairs' scores, (n,) float64 each, NaN where there is none, and n reasons: None where both are there."""

    chosen: FloatArray
    rejected: FloatArray
    reasons: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class RewardJudge:
    """A reward to test, by the name that results call it."""

    name: str
    reward: Reward

    @property
    def about(self) -> Mapping[str, Any]:
        reward = self.reward
        encoder = {"encoder": reward.settings.encoder.model} if reward.uses_encoder else {}
        return {"reward": str(reward), "reward_id": reward.reward_id, **encoder}

    @property
    def directory_name(self) -> str:
        """Two lines may differ in nothing but signs, which no directory has in its name: a hash tells them apart."""
        return self.name if self.name.replace("_", "").isalnum() else self.reward.__name__

    def score(
        self,
        pairs: Sequence[TestPair],
        file: Path,
        *,
        force: bool = False,
        progress: Callable[[int], None] = lambda done: None,
    ) -> PairScores:
        """The scores of all pairs, those in `file` from there. `progress` gets how many pairs are done.

        Raises RewardError when no pair has a query type and the reward needs one, StoreError when `file` is of another
        reward (unless `force`) or cannot be written.
        """
        self._check_columns(pairs)
        reward_id = self.reward.reward_id
        rows = _kept_rows(file, reward_id, force)
        keys = [_key(pair) for pair in pairs]
        # Equal pairs are scored once.
        missing = list({key: pair for key, pair in zip(keys, pairs, strict=True) if key not in rows}.items())
        times = Counter(keys)
        progress(sum(key in rows for key in keys))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as out:
                for start in range(0, len(missing), _AT_ONCE):
                    new = self._score(missing[start : start + _AT_ONCE], reward_id)
                    out.write("".join(to_json(row) + "\n" for row in new))
                    out.flush()
                    rows.update((row["of"], row) for row in new)
                    progress(sum(times[row["of"]] for row in new))
        except OSError as error:
            raise storage_error(file, error) from error
        return _collected([rows[key] for key in keys])

    def _score(self, pairs: Sequence[tuple[str, TestPair]], reward_id: str) -> list[dict[str, Any]]:
        scored = self.reward.score([example for _, pair in pairs for example in pair.examples()])
        rows = []
        for number, (key, pair) in enumerate(pairs):
            one, two = 2 * number, 2 * number + 1
            rows.append(
                {
                    "id": pair.id,
                    "of": key,
                    "chosen": float(scored.total[one]),
                    "rejected": float(scored.total[two]),
                    "reason": scored.reasons[one] or scored.reasons[two],
                    "parts": {
                        leaf: [float(scored.parts[leaf][one]), float(scored.parts[leaf][two])]
                        for leaf in self.reward.leaves
                    },
                    "reward_id": reward_id,
                }
            )
        return rows

    def _check_columns(self, pairs: Sequence[TestPair]) -> None:
        required = self.reward.required_columns
        if "query_type" in required and not any(pair.query_type for pair in pairs):
            raise RewardError(
                f"{self.reward} needs the query type of each prompt, and no pair has one. Have the classifier that "
                "ships give them, with --query-types local, or give a file of them with --references."
            )
        if missing := sorted(required - {"query_type", "reference"} - {key for pair in pairs for key in pair.columns}):
            raise RewardError(f"{self.reward} needs the field {missing[0]!r}, which no pair has. Add it to the pairs.")


def _key(pair: TestPair) -> str:
    content = [pair.prompt, pair.chosen, pair.rejected, pair.reference, pair.query_type, pair.columns]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _kept_rows(file: Path, reward_id: str, force: bool) -> dict[str, dict[str, Any]]:
    """What is in `file` of this reward; the half line that a killed process left is cut off."""
    if not file.exists():
        return {}
    whole, newline, rest = file.read_bytes().rpartition(b"\n")
    rows = parse_jsonl(file, whole + newline, _NEEDED, _NEEDED, _REMEDY)
    own = [row for row in rows if row["reward_id"] == reward_id]
    if len(own) < len(rows) and not force:
        raise StoreError(
            f"{file} has scores of another reward, or of the same line with other weights or settings. Give another "
            "--out, or begin anew with --force."
        )
    if rest or len(own) < len(rows):
        write_whole(file, "".join(to_json(row) + "\n" for row in own))
    return {row["of"]: row for row in own}


def _collected(rows: Sequence[Mapping[str, Any]]) -> PairScores:
    scores = {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)
        for name in ("chosen", "rejected")
    }
    return PairScores(scores["chosen"], scores["rejected"], tuple(row["reason"] for row in rows))
