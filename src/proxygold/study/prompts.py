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
from proxygold.records import PromptRecord
from proxygold.rewards.probe import unscorable_prompts
from proxygold.rewards.runtime import Reward
from proxygold.store import to_json
from proxygold.study.config import DataSettings, Study
from proxygold.study.progress import StudyProgress

__all__ = ["StudyPrompts", "fingerprint", "read_study_prompts", "reject_unreadable", "reject_unscorable"]

BUILTIN = "builtin"  # the word for the prompts that come with the package


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


def reject_unreadable(prompts: StudyPrompts, study: Study, progress: StudyProgress) -> StudyPrompts:
    """Leave out every prompt that the policy cannot read with room for its answer, or not in its template.

    Raises DataError when nothing is left.
    """
    from proxygold.models.prompt_tokens import load_prompt_tokens

    tokens = load_prompt_tokens(study.policy)

    def reasons(records: Sequence[PromptRecord], max_new_tokens: int, label: str) -> list[str | None]:
        found: list[str | None] = []
        with progress.track(label, total=len(records)) as advance:
            for record in records:
                try:
                    tokens.check_room(len(tokens.encode(record.prompt)), max_new_tokens)
                    found.append(None)
                except DataError as error:
                    found.append(str(error))
                advance()
        return found

    return _without(
        prompts,
        reasons(prompts.train, study.training.max_new_tokens, "read train prompts"),
        reasons(prompts.validation, study.validation.max_new_tokens, "read validation prompts"),
        "can be read by the policy",
    )


def reject_unscorable(prompts: StudyPrompts, rewards: Mapping[str, Reward]) -> StudyPrompts:
    """Leave out every prompt that some reward cannot score (a closed-ended row without a reference, say).

    One that a single reward cannot score is left out for all of them, so that the rewards train on the same prompts.
    Raises DataError when nothing is left.
    """
    return _without(
        prompts,
        _unscorable(prompts.train, rewards),
        _unscorable(prompts.validation, rewards),
        "can be scored by every reward",
    )


def _unscorable(records: Sequence[PromptRecord], rewards: Mapping[str, Reward]) -> list[str | None]:
    """Why some reward cannot score each prompt, None where all can."""
    reasons: list[str | None] = [None] * len(records)
    for name, reward in rewards.items():
        for index, reason in enumerate(unscorable_prompts(reward, records)):
            if reason is not None and reasons[index] is None:
                reasons[index] = f"{name}: {reason}"
    return reasons


def _without(
    prompts: StudyPrompts, train: Sequence[str | None], validation: Sequence[str | None], wanted: str
) -> StudyPrompts:
    """The prompts that have no reason against them; the others are listed. Raises DataError when none is left."""
    rejected = list(prompts.rejected)
    kept: dict[str, tuple[PromptRecord, ...]] = {}
    for split, records, reasons in (("train", prompts.train, train), ("validation", prompts.validation, validation)):
        pairs = list(zip(records, reasons, strict=True))
        kept[split] = tuple(record for record, reason in pairs if reason is None)
        rejected += [
            {"split": split, "id": record.id, "reason": reason} for record, reason in pairs if reason is not None
        ]
        if not kept[split]:
            listed = "; ".join(sorted({str(row["reason"]) for row in rejected if row["split"] == split})[:5])
            raise DataError(f"no {split} prompt {wanted}: {listed}")
    return StudyPrompts(kept["train"], kept["validation"], tuple(rejected))


def fingerprint(records: Sequence[PromptRecord]) -> str:
    """sha256 of the prompts in order, so that a resumed run can tell that its data changed."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(to_json({**asdict(record), "columns": dict(record.columns)}).encode())
    return digest.hexdigest()
