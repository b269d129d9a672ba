"""One arm of a study, a reward with a seed: trained, and its prompts answered at its checkpoints.

Of several processes that a launcher started all do this together; what is there already, the first of them says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from proxygold.errors import StoreError
from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import PromptRecord
from proxygold.store import ArmDirectory
from proxygold.study.config import Study
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts
from proxygold.study.rollouts import sample_rollouts
from proxygold.study.trainers import make_trainer
from proxygold.training.processes import current_processes
from proxygold.training.trackers import Trackers

if TYPE_CHECKING:
    from proxygold.models.policy import Policy
    from proxygold.rewards.runtime import Reward

__all__ = ["answer_step", "missing_steps", "train_arm"]


def missing_steps(arm: ArmDirectory, study: Study) -> list[int]:
    """The steps with answers that are not written yet, to validation or to dev prompts."""
    validation = set(study.validation_steps) - set(arm.rollout_steps())
    return sorted(validation | (set(study.choice_steps) - set(arm.dev.rollout_steps())))


def train_arm(
    arm: ArmDirectory,
    policy: Policy,
    reward: Reward,
    study: Study,
    prompts: StudyPrompts,
    progress: StudyProgress,
    later: int,
) -> None:
    """Train one reward with one seed, answering the validation and the dev prompts at their checkpoints.

    `later`: how many steps of training come after this one.
    """
    label = f"{arm.reward}, seed {arm.seed}"
    training, processes = study.training, current_processes()
    missing = processes.from_first(lambda: missing_steps(arm, study))
    furthest = processes.from_first(lambda: _furthest(arm))
    processes.from_first(lambda: _give_up_damaged(arm, missing))
    trainer = make_trainer(policy, reward, prompts.train, training, arm, arm.seed)
    for step, damage in trainer.damaged.items():
        progress.warn(
            f"the checkpoint {arm.checkpoint(step)} is damaged ({damage}) and was stepped over: training goes on from "
            f"step {trainer.step}."
        )

    def kept() -> list[int]:
        return study.answered_steps if training.keep_validated else [*study.choice_steps, *missing_steps(arm, study)]

    def train_to(step: int) -> None:
        with progress.training(label, training.steps, later, arm.read_steps) as show:

            def on_step(record: dict[str, Any]) -> None:
                trackers.log(record)
                show(record)

            trainer.train(step, training.save_every, on_step, keep=kept(), newest=training.keep)

    names, settings = training.trackers if processes.first else (), study.model_dump(mode="json")
    with Trackers(names, arm, study.name, f"{arm.reward}-seed-{arm.seed}", settings) as trackers:
        # Where it was before: this far it may be answered already, and there is something to do after a damage only.
        for step in sorted({*study.answered_steps, furthest}):
            if trainer.step < step <= furthest:
                train_to(step)
        # One that was killed just before it removed a checkpoint left it.
        processes.from_first(lambda: arm.prune_checkpoints(trainer.step, kept(), training.keep))
        # What a stopped run trained but did not answer. The trainer's own weights, which may be of a checkpoint between
        # two validations, are put back after.
        past = [step for step in missing if step < trainer.step]
        _check_kept(arm, past)
        for step in past:
            policy.load_adapter(arm.checkpoint(step)) if step else policy.reset(arm.seed)
            answer_step(arm, step, policy, prompts, study, label, progress)
        if past:
            policy.load_adapter(arm.checkpoint(trainer.step))
        for step in missing[len(past) :]:
            if step > trainer.step:
                train_to(step)
            answer_step(arm, step, policy, prompts, study, label, progress)


def _furthest(arm: ArmDirectory) -> int:
    """The furthest step that is trained: it may be answered already when its checkpoint is lost."""
    return max((*arm.checkpoint_steps(), *arm.rollout_steps(), *arm.dev.rollout_steps()), default=0)


def _give_up_damaged(arm: ArmDirectory, steps: Sequence[int]) -> None:
    """Remove what comes after the first damaged checkpoint that is still to answer something at one of `steps`.

    So the trainer goes on from the one before it, and makes it again and all that came after. Those are removed before
    the log is cut: a run that is killed meanwhile must not go on from one that its log does not reach.
    """
    for step in steps:
        if step in arm.checkpoint_steps() and arm.checkpoint_damage(step) is not None:
            arm.remove_checkpoints_after(step)
            return


def _check_kept(arm: ArmDirectory, steps: Sequence[int]) -> None:
    """Raises StoreError when a checkpoint that is still to answer something is gone."""
    gone = [step for step in steps if step and step not in arm.checkpoint_steps()]
    if gone:
        raise StoreError(
            f"{arm.path} was trained past step {gone[0]}, and its checkpoint there was not kept, so nothing can be "
            f"answered there. Kept are {', '.join(map(str, arm.checkpoint_steps()))}: let choice.every ask for these "
            "alone, or give the study another name (name=…)."
        )


def answer_step(
    arm: ArmDirectory,
    step: int,
    policy: Policy,
    prompts: StudyPrompts,
    study: Study,
    label: str,
    progress: StudyProgress,
) -> None:
    """Answer the prompts whose turn it is at `step`, as far as they are not answered yet."""
    processes = current_processes()

    def answer(
        to: ArmDirectory, records: Sequence[PromptRecord], sampling: SamplingSettings, seed: int, what: str
    ) -> None:
        if processes.from_first(lambda: step not in to.rollout_steps()):
            size = study.validation.batch_size
            rollouts = sample_rollouts(
                policy, records, sampling, seed=seed, batch_size=size, label=f"{label}: {what}", progress=progress
            )
            processes.from_first(lambda: to.write_rollouts(step, rollouts))
            progress.answers(f"{label}: {what}", step, rollouts)

    validation, choice = study.validation, study.choice
    if step in study.validation_steps:
        answer(arm, prompts.validation, validation.sampling, validation.seed, "answer")
    if choice is not None and step in study.choice_steps:
        answer(arm.dev, prompts.dev, study.training.sampling, choice.seed, "answer dev")
