"""The prompts of a study: read, numbered, and checked against the rewards before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxygold.data.builtin import Split, builtin_prompts
from proxygold.data.rows import read_prompts
from proxygold.errors import DataError
from proxygold.records import Example, PromptRecord
from proxygold.rewards.runtime import Reward
from proxygold.store import to_json
from proxygold.study.config import DataSettings

__all__ = ["StudyPrompts", "fingerprint", "read_study_prompts", "reject_unscorable"]

BUILTIN = "builtin"  # the word for the prompts that come with the package
# A plain sentence that every feature can be computed on, so that what fails is the prompt's own lack.
PROBE_COMPLETION = "This is a plain answer of more than three words."


@dataclass(frozen=True, slots=True)
class StudyPrompts:
    """Prompts to train and to validate on, and the rows left out: each with `split`, `id` and `reason`."""

    train: tuple[PromptRecord, ...]
    validation: tuple[PromptRecord, ...]
    rejected: tuple[Mapping[str, Any], ...] = ()


def read_study_prompts(data: DataSettings) -> StudyPrompts:
    """Read both sets of prompts. Rows that cannot be read are listed in `rejected` by their line.

    Raises DataError for a file that is missing, empty or of another kind, and for a validation prompt in both sets.
    """
    train, rejected_train = _read(data.train, "train", data.train_limit)
    validation, rejected_validation = _read(data.validation, "validation", data.validation_limit)
    shared = {to_json(row.prompt) for row in train} & {to_json(row.prompt) for row in validation}
    if shared:
        raise DataError(
            f"{len(shared)} prompts are in both data.train and data.validation, such as {min(shared)[:80]}. "
            "A policy must be validated on prompts it was not trained on: remove them from one of the two."
        )
    return StudyPrompts(train, validation, (*rejected_train, *rejected_validation))


def _read(source: str, split: Split, limit: int | None) -> tuple[tuple[PromptRecord, ...], list[dict[str, Any]]]:
    if source == BUILTIN:
        return tuple(builtin_prompts(split)[:limit]), []
    records, rejected = read_prompts(Path(source), limit)
    return tuple(records), [{"split": split, "id": f"line-{row.line}", "reason": row.reason} for row in rejected]


def reject_unscorable(prompts: StudyPrompts, rewards: Mapping[str, Reward]) -> StudyPrompts:
    """Leave out every prompt that some reward cannot score (a closed-ended row without a reference, say).

    One that a single reward cannot score is left out for all of them, so that the rewards train on the same prompts.
    Raises DataError when nothing is left.
    """
    train, rejected_train = _split(prompts.train, rewards, "train")
    validation, rejected_validation = _split(prompts.validation, rewards, "validation")
    rejected = (*prompts.rejected, *rejected_train, *rejected_validation)
    for name, kept in (("train", train), ("validation", validation)):
        if not kept:
            reasons = sorted({str(row["reason"]) for row in rejected if row["split"] == name})
            raise DataError(f"no {name} prompt can be scored by every reward: {'; '.join(reasons)}.")
    return StudyPrompts(train, validation, rejected)


def _split(
    records: Sequence[PromptRecord], rewards: Mapping[str, Reward], split: str
) -> tuple[tuple[PromptRecord, ...], list[dict[str, Any]]]:
    examples = [
        Example(record.prompt, PROBE_COMPLETION, record.reference, record.query_type, record.columns)
        for record in records
    ]
    reasons: list[str | None] = [None] * len(records)
    for name, reward in rewards.items():
        for index, reason in enumerate(reward.score(examples).reasons):
            if reason is not None and reasons[index] is None:
                reasons[index] = f"{name}: {reason}"
    kept = tuple(record for record, reason in zip(records, reasons, strict=True) if reason is None)
    rejected = [
        {"split": split, "id": record.id, "reason": reason}
        for record, reason in zip(records, reasons, strict=True)
        if reason is not None
    ]
    return kept, rejected


def fingerprint(records: Sequence[PromptRecord]) -> str:
    """sha256 of the prompts in order, so that a resumed run can tell that its data changed."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(to_json({**asdict(record), "columns": dict(record.columns)}).encode())
    return digest.hexdigest()
