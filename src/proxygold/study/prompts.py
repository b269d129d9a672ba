"""The prompts of a study: read, numbered, and checked against the rewards before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from proxygold.data.prompt_sets import PromptSet, read_prompt_set
from proxygold.data.published import Role
from proxygold.data.source_settings import SourceSettings
from proxygold.data.typed_prompts import with_query_types
from proxygold.errors import DataError
from proxygold.models.policy_settings import PolicySettings
from proxygold.records import PromptRecord
from proxygold.rewards.probe import unscorable_prompts
from proxygold.rewards.runtime import Reward
from proxygold.store import to_json
from proxygold.study.config import DataSettings
from proxygold.study.overlap import keep_apart
from proxygold.study.progress import StudyProgress

__all__ = [
    "StudyPrompts",
    "fingerprint",
    "read_split",
    "read_study_prompts",
    "reject_unreadable",
    "reject_unscorable",
]


@dataclass(frozen=True, slots=True)
class StudyPrompts:
    """Prompts to train and to validate on, those that choose the checkpoint (`dev`, if there are any), and the rows
    left out: each with `split`, `id` and `reason`. `notes`: what the overlap check found, to be printed.
    """

    train: tuple[PromptRecord, ...]
    validation: tuple[PromptRecord, ...]
    rejected: tuple[Mapping[str, Any], ...] = ()
    dev: tuple[PromptRecord, ...] = ()
    notes: tuple[str, ...] = ()


def read_study_prompts(data: DataSettings) -> StudyPrompts:
    """Read every set of prompts. Rows that cannot be read are listed in `rejected` by their line.

    So are prompts of train that are in dev or validation too, and prompts of dev that are in validation: they are left
    out. Raises DataError for a source that is missing, empty or of another kind, and when nothing is left of a set.
    """
    given = {
        "train": (data.train, data.train_limit),
        "validation": (data.validation, data.validation_limit),
        "dev": (data.dev, data.dev_limit),
    }
    sets: dict[str, tuple[PromptRecord, ...]] = {}
    rejected: list[Mapping[str, Any]] = []
    notes: list[str] = []
    for split, (source, limit) in given.items():
        found = PromptSet(()) if source is None else read_prompt_set(source, cast(Role, split), limit)
        sets[split] = with_query_types(found.records, data.query_types)
        rejected += _listed(found, split)
        if found.repeated:
            copies = "1 row is a copy" if found.repeated == 1 else f"{found.repeated:,} rows are copies"
            notes.append(f"{split}: {copies} of one before, left out")
    kept, shared, lines = keep_apart(sets)
    return StudyPrompts(kept["train"], kept["validation"], (*rejected, *shared), kept["dev"], notes=(*notes, *lines))


def read_split(
    source: SourceSettings | str, split: str, limit: int | None
) -> tuple[tuple[PromptRecord, ...], list[dict[str, Any]]]:
    """The prompts of one source for the role `split` (train, dev or validation), and the rows that cannot be read."""
    found = read_prompt_set(source, cast(Role, split), limit)
    return found.records, _listed(found, split)


def _listed(found: PromptSet, split: str) -> list[dict[str, Any]]:
    several = len({str(row.path) for row in found.rejected}) > 1
    return [
        {"split": split, "id": f"{row.path}:{row.line}" if several else f"line-{row.line}", "reason": row.reason}
        for row in found.rejected
    ]


def reject_unreadable(
    prompts: StudyPrompts, policy: PolicySettings, progress: StudyProgress, *, training: int, validation: int
) -> StudyPrompts:
    """Leave out every prompt that the policy cannot read with room for its answer, or not in its template.

    `training` and `validation`: the most tokens of an answer; dev prompts are answered as in training. Raises DataError
    when nothing is left.
    """
    from proxygold.models.prompt_tokens import load_prompt_tokens

    tokens = load_prompt_tokens(policy)

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
        reasons(prompts.train, training, "read train prompts"),
        reasons(prompts.validation, validation, "read validation prompts"),
        reasons(prompts.dev, training, "read dev prompts"),
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
        _unscorable(prompts.dev, rewards),
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
    prompts: StudyPrompts,
    train: Sequence[str | None],
    validation: Sequence[str | None],
    dev: Sequence[str | None],
    wanted: str,
) -> StudyPrompts:
    """The prompts that have no reason against them; the others are listed. Raises DataError when none is left."""
    rejected = list(prompts.rejected)
    kept: dict[str, tuple[PromptRecord, ...]] = {}
    splits = (
        ("train", prompts.train, train),
        ("validation", prompts.validation, validation),
        ("dev", prompts.dev, dev),
    )
    for split, records, reasons in splits:
        pairs = list(zip(records, reasons, strict=True))
        kept[split] = tuple(record for record, reason in pairs if reason is None)
        rejected += [
            {"split": split, "id": record.id, "reason": reason} for record, reason in pairs if reason is not None
        ]
        if records and not kept[split]:
            listed = "; ".join(sorted({str(row["reason"]) for row in rejected if row["split"] == split})[:5])
            raise DataError(f"no {split} prompt {wanted}: {listed}")
    return StudyPrompts(kept["train"], kept["validation"], tuple(rejected), kept["dev"], prompts.notes)


def fingerprint(records: Sequence[PromptRecord]) -> str:
    """sha256 of the prompts in order, so that a resumed run can tell that its data changed."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(to_json({**asdict(record), "columns": dict(record.columns)}).encode())
    return digest.hexdigest()
