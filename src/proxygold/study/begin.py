"""The first stage of a run: everything that is fixed before training starts, and checked again on each resume.

It reads the prompts, resolves the reward lines (`match` is measured here, once), leaves out what cannot be scored,
and writes `study.yaml` and `provenance.json`. A run goes on only with the study, the prompts and the rewards that it
began with.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxygold.errors import StoreError
from proxygold.models.reward_models import find_reward_model
from proxygold.records import PromptRecord
from proxygold.rewards.runtime import Reward, reward
from proxygold.store import RunDirectory
from proxygold.study.config import Study
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts, fingerprint, read_study_prompts, reject_unscorable
from proxygold.study.provenance import provenance
from proxygold.study.rollouts import as_examples, sample_rollouts

if TYPE_CHECKING:
    from proxygold.models.policy import Policy

__all__ = ["Began", "begin_run"]


@dataclass(slots=True)
class Began:
    """What training starts from. `policy` is the start policy when calibration had to load it, else None."""

    rewards: Mapping[str, Reward]
    prompts: StudyPrompts
    policy: Policy | None


def begin_run(run: RunDirectory, study: Study, progress: StudyProgress) -> Began:
    """Begin `run`, or check that it was begun with this study, and return its rewards and prompts.

    Raises StoreError when the run belongs to another study, or when its prompts or rewards have changed since.
    """
    lines: Mapping[str, str] = study.rewards
    if run.exists():
        _check_same_study(run, study)
        lines = run.read_study()["rewards"]
    find_reward_model(study.gold.model)  # now: after days of training is too late to learn that it cannot be found
    prompts = read_study_prompts(study.data)
    rewards = {name: _reward(line, study) for name, line in lines.items()}
    policy = None
    if not all(item.resolved for item in rewards.values()):
        policy, rewards = _calibrate(run, study, rewards, prompts.train, progress)
    prompts = reject_unscorable(prompts, rewards)
    fixed = {
        "prompts": {
            "train": {"count": len(prompts.train), "sha256": fingerprint(prompts.train)},
            "validation": {"count": len(prompts.validation), "sha256": fingerprint(prompts.validation)},
        },
        "rewards": {name: item.reward_id for name, item in rewards.items()},
    }
    if run.exists():
        _check_unchanged(run, fixed)
    else:
        run.write_rejected(prompts.rejected)
        run.write_provenance({**provenance(), "requested": study.model_dump(mode="json"), "fixed": fixed})
        resolved = {name: str(item) for name, item in rewards.items()}
        # Last: a directory without study.yaml is no run yet, so a stop before this line leaves nothing half begun.
        run.write_study({**study.model_dump(mode="json"), "rewards": resolved})
    return Began(rewards, prompts, policy)


def _reward(line: str, study: Study) -> Reward:
    template = study.policy.prompt_template
    return reward(
        line,
        encoder=study.encoder,
        template=None if template == "chat" else template,  # a tokenizer's own chat template ends answers with a token
        max_new_tokens=study.training.max_new_tokens,
    )


def _calibrate(
    run: RunDirectory,
    study: Study,
    rewards: Mapping[str, Reward],
    prompts: Sequence[PromptRecord],
    progress: StudyProgress,
) -> tuple[Policy, dict[str, Reward]]:
    """Measure every `match` on completions that the start policy samples as it will in training."""
    from proxygold.models.policy import Policy

    chosen = random.Random(study.seeds[0]).sample(prompts, min(study.calibration.prompts, len(prompts)))
    policy = Policy.load(study.policy, seed=study.seeds[0])
    rollouts = sample_rollouts(
        policy,
        chosen,
        study.training.sampling,
        seed=study.seeds[0],
        batch_size=study.validation.batch_size,
        label="calibrate",
        progress=progress,
    )
    run.write_calibration(rollouts)
    examples = as_examples(rollouts, chosen)
    return policy, {name: item if item.resolved else item.calibrate(examples) for name, item in rewards.items()}


def _check_same_study(run: RunDirectory, study: Study) -> None:
    """The study must be the one that the run was asked for, or the resolved one it wrote (a replay of study.yaml)."""
    asked = study.model_dump(mode="json")
    resolved = run.read_study()
    requested = run.read_provenance().get("requested", resolved)
    if asked in (requested, resolved):
        return
    differing = sorted(_differences(requested, asked))
    raise StoreError(
        f"{run.path} holds a run of a different study; they differ in {', '.join(differing)}. Nothing was changed. "
        "Give this study another name (name=…), or remove that directory."
    )


def _differences(old: Any, new: Any, place: str = "") -> set[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found: set[str] = set()
        for key in old.keys() | new.keys():
            found |= _differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
        return found
    return set() if old == new else {place}


def _check_unchanged(run: RunDirectory, fixed: Mapping[str, Any]) -> None:
    before = run.read_provenance().get("fixed", fixed)
    differing = sorted(_differences(before, fixed))
    if differing:
        raise StoreError(
            f"{run.path} cannot go on: {', '.join(differing)} changed since it began (the data files, the encoder's "
            "weights, or a feature's code). Put them back, or give the study another name (name=…)."
        )
