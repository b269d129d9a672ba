"""The first stage of a run: everything that is fixed before training starts, and checked again on each resume.

It parses the reward lines and looks for gold, reads the prompts, resolves the lines (`match` is measured here, once),
leaves out what cannot be scored, and writes `study.yaml` and `provenance.json`. A run goes on only with the prompts,
the rewards and the models that it began with; `changes.py` says what else may change.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proxygold.errors import StoreError
from proxygold.models.fingerprint import checkpoint_fingerprint
from proxygold.records import PromptRecord
from proxygold.rewards.runtime import Reward, reward
from proxygold.store import RunDirectory
from proxygold.study.changes import allowed_changes, differences, is_scored, listed
from proxygold.study.config import Study
from proxygold.study.overlap import gold_overlap
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts, fingerprint, read_study_prompts, reject_unreadable, reject_unscorable
from proxygold.study.provenance import provenance
from proxygold.study.rollouts import as_examples, sample_rollouts
from proxygold.study.scoring import check_gold, gold_identity

if TYPE_CHECKING:
    from proxygold.models.policy import Policy

__all__ = ["Began", "begin_run", "parse_rewards"]


@dataclass(slots=True)
class Began:
    """What training starts from. `policy` is the start policy when calibration had to load it, else None."""

    rewards: Mapping[str, Reward]
    prompts: StudyPrompts
    policy: Policy | None


def begin_run(run: RunDirectory, study: Study, progress: StudyProgress, *, gold_later: bool = False) -> Began:
    """Begin `run`, or check that it was begun with this study, and return its rewards and prompts.

    With `gold_later`, gold need not be on this machine: nothing is looked up of it. Raises StoreError when the run
    belongs to another study, or when its prompts, rewards or models have changed since.
    """
    changed = allowed_changes(run, study) if run.exists() else {}
    # What takes no time comes first: a mistake in a reward line or in gold is told before a prompt is read.
    rewards = parse_rewards(study, run.read_study()["rewards"] if run.exists() else study.rewards)
    if not gold_later:
        check_gold(study.gold)
    prompts = read_study_prompts(study.data)
    overlap = _note_overlap(run, study, prompts, progress, gold_later)
    prompts = reject_unreadable(
        prompts,
        study.policy,
        progress,
        training=study.training.max_new_tokens,
        validation=study.validation.max_new_tokens,
    )
    policy = None
    if not all(item.resolved for item in rewards.values()):
        policy, rewards = _calibrate(run, study, rewards, prompts.train, progress)
    prompts = reject_unscorable(prompts, rewards)
    fixed = _fixed(study, rewards, prompts, gold_later)
    resolved = {**study.model_dump(mode="json"), "rewards": {name: str(item) for name, item in rewards.items()}}
    if run.exists():
        _go_on(run, study, fixed, changed, resolved)
    else:
        run.write_rejected(prompts.rejected)
        requested = study.model_dump(mode="json")
        run.write_provenance({**provenance(), "requested": requested, "overlap": overlap, "fixed": fixed})
        # Last: a directory without study.yaml is no run yet, so a stop before this line leaves nothing half begun.
        run.write_study(resolved)
    return Began(rewards, prompts, policy)


def _note_overlap(
    run: RunDirectory, study: Study, prompts: StudyPrompts, progress: StudyProgress, gold_later: bool
) -> list[str]:
    """Say which prompts two of the sets share, and what is known of those that gold was trained on."""
    notes = list(prompts.notes)
    if not run.exists():  # a run that goes on has it in its provenance
        sets = {"train": prompts.train, "dev": prompts.dev, "validation": prompts.validation}
        notes += gold_overlap(study.data, study.gold, sets, has_card=not gold_later)
    for note in notes:
        progress.say(f"overlap: {note}")
    return notes


def parse_rewards(study: Study, lines: Mapping[str, str]) -> dict[str, Reward]:
    """Reward lines with the study's encoder and template. Loads nothing. Raises RewardError for a line that is none."""
    template = study.policy.prompt_template
    return {
        name: reward(
            line,
            encoder=study.encoder,
            template=None if template == "chat" else template,  # a chat template ends answers with a token
            max_new_tokens=study.training.max_new_tokens,
            plugins=study.plugins,
        )
        for name, line in lines.items()
    }


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


def _fixed(study: Study, rewards: Mapping[str, Reward], prompts: StudyPrompts, gold_later: bool) -> dict[str, Any]:
    """What decides the results beside the settings, and lies outside the run."""
    from proxygold.models.causal_lm import pick_device, pick_dtype

    def model(path: str, dtype: str, device: str) -> dict[str, str]:
        # The dtype that `auto` is on this machine: a run must not go on in another one.
        used = str(pick_dtype(dtype, pick_device(device))).removeprefix("torch.")
        return {"weights": checkpoint_fingerprint(path), "dtype": used}

    def counted(records: Sequence[PromptRecord]) -> dict[str, Any]:
        return {"count": len(records), "sha256": fingerprint(records)}

    # What a run may be begun without stands by itself: dev prompts can be added to it, and gold left for later.
    later = {"dev": counted(prompts.dev)} if prompts.dev else {}
    if not gold_later:
        later["gold"] = gold_identity(study.gold)
    return {
        "prompts": {"train": counted(prompts.train), "validation": counted(prompts.validation)},
        "rewards": {name: item.reward_id for name, item in rewards.items()},
        "policy": model(study.policy.model, study.policy.dtype, study.policy.device),
        **later,
    }


def _go_on(
    run: RunDirectory,
    study: Study,
    fixed: Mapping[str, Any],
    changed: Mapping[str, tuple[Any, Any]],
    resolved: Mapping[str, Any],
) -> None:
    """Check what is fixed, and write down the settings that changed."""
    record = run.read_provenance()
    before = record.get("fixed", {})
    if "gold" in before:
        fixed = {"gold": before["gold"], **fixed}  # not looked up when it is left for later
    # What the run has no record of (it was begun by an earlier version) is taken as it is.
    moved = differences({**fixed, **before}, fixed)
    refused = {place: values for place, values in moved.items() if is_scored(run) or not place.startswith("gold.")}
    if refused:
        raise StoreError(
            f"{run.path} cannot go on: {listed(refused)} changed since it began. Behind it is a data file, the files "
            "of a model, a feature's code, or a dtype that `auto` chooses otherwise on this machine. Put it back (name "
            "the dtype in place of auto), or give the study another name (name=…)."
        )
    if not changed and before == fixed:
        return
    when = datetime.now(UTC).isoformat(timespec="seconds")
    news = [f"{when} {place}: {old!r} -> {new!r}" for place, (old, new) in {**changed, **moved}.items()]
    requested = {**study.model_dump(mode="json"), "rewards": record.get("requested", resolved)["rewards"]}
    run.write_provenance(
        {**record, "requested": requested, "fixed": fixed, "changes": [*record.get("changes", []), *news]}
    )
    run.write_study(resolved)
