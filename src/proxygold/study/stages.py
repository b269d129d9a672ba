"""The stages of a study, in order. Each writes its files whole and passes over those that are there, so a run resumes.

1. begin    read the prompts; measure `match` on the start policy; leave out what cannot be scored (begin.py)
2. train    PPO, GRPO or RLOO on each reward and seed, a checkpoint at every validation step, and between them one to go
            on from
3. answer   the validation prompts at every checkpoint, and the dev prompts; step 0 is the start policy's, shared by all
4. score    proxy with its parts, and gold, for every answer (scoring.py)
5. report   the checkpoint that the dev prompts choose (choice.py), the monotonicity table and the page

Several processes that a launcher started share 2 to 4 (training/processes.py). What is there already, the first of them
says, and it alone writes: the others may see another machine's view of the disk.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.analysis.runs import RunAnalysis
from proxygold.errors import ConfigError, StoreError
from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import PromptRecord
from proxygold.store import ArmDirectory, RunDirectory
from proxygold.study.begin import Began, begin_run
from proxygold.study.conclude import conclude
from proxygold.study.config import Study
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts
from proxygold.study.rollouts import sample_rollouts
from proxygold.study.scoring import Answers, score_answers
from proxygold.study.trainers import make_trainer
from proxygold.training.processes import Processes, current_processes
from proxygold.training.trackers import Trackers, check_trackers

if TYPE_CHECKING:
    from proxygold.models.policy import Policy
    from proxygold.rewards.runtime import Reward

__all__ = ["StudyResult", "run_study"]


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A finished run: where it is, the verdict as numbers, its page, and the prompts that were left out.

    Without verdict and page when gold was left for later.
    """

    run: RunDirectory
    analysis: RunAnalysis | None
    report: Path | None
    rejected: Sequence[Mapping[str, Any]]


def run_study(study: Study, runs: Path, progress: StudyProgress, *, gold_later: bool = False) -> StudyResult:
    """Run every stage that is not done yet in `runs/NAME`, and return the result.

    With `gold_later`, gold is neither looked for nor loaded: `score --gold` does that, here or on another machine.
    Raises StoreError when that directory belongs to another study or another process, and what the stages raise.
    """
    check_trackers(study.training.trackers)
    run = RunDirectory(runs / study.name)
    processes = current_processes()
    if processes.count > 1 and study.training.algorithm != "ppo":
        raise ConfigError(
            f"training.algorithm: {study.training.algorithm} trains in one process, but {processes.count} were "
            "launched. Use algorithm: ppo, or `proxygold export --to trl`, whose script `accelerate launch` takes."
        )
    with run.lock() if processes.first else nullcontext():
        began, policy = _begin(run, study, progress, processes, gold_later)
        for seed in study.seeds:
            for name, reward in began.rewards.items():
                processes.from_first(lambda: _share_step_0(run, study))
                arm = run.arm(name, seed)
                if processes.from_first(functools.partial(_missing, arm, study)):
                    policy = policy or _load_policy(study)
                    later = processes.from_first(functools.partial(_steps_after, run, study, arm))
                    _train_and_answer(arm, policy, reward, study, began.prompts, progress, later)
        del policy  # the gold model may need the memory
        score_answers(
            list(_answers(run, study, began.rewards, began.prompts)), None if gold_later else study.gold, progress
        )
        analysis, report = processes.from_first(lambda: conclude(run))
    return StudyResult(run, analysis, report, began.prompts.rejected)


def _begin(
    run: RunDirectory, study: Study, progress: StudyProgress, processes: Processes, gold_later: bool
) -> tuple[Began, Policy | None]:
    """What the first process finds and writes, for all of them; and its start policy, where it loaded one whole."""
    from proxygold.training.sharding import sharding_wanted

    loaded: list[Policy | None] = [None]

    def begin() -> Began:
        began = begin_run(run, study, progress, gold_later=gold_later)
        loaded[0], began.policy = None if sharding_wanted(processes) else began.policy, None
        return began

    return processes.from_first(begin), loaded[0]


def _answers(
    run: RunDirectory, study: Study, rewards: Mapping[str, Reward], prompts: StudyPrompts
) -> Iterator[Answers]:
    """What is to be scored. Gold reads the dev answers only where it is gold that chooses."""
    by_gold = study.choice is not None and study.choice.by != "proxy"
    for seed in study.seeds:
        for name, reward in rewards.items():
            arm = run.arm(name, seed)
            yield Answers(arm, reward, prompts.validation)
            yield Answers(arm.dev, reward, prompts.dev, gold=by_gold)


def _load_policy(study: Study) -> Policy:
    from proxygold.models.policy import Policy
    from proxygold.training.sharding import load_sharded, sharding_wanted

    processes = current_processes()
    return load_sharded(study.policy, processes) if sharding_wanted(processes) else Policy.load(study.policy)


def _missing(arm: ArmDirectory, study: Study) -> list[int]:
    """The steps with answers that are not written yet, to validation or to dev prompts."""
    validation = set(study.validation_steps) - set(arm.rollout_steps())
    return sorted(validation | (set(study.choice_steps) - set(arm.dev.rollout_steps())))


def _train_and_answer(
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
    missing = processes.from_first(lambda: _missing(arm, study))
    furthest = processes.from_first(lambda: _furthest(arm))
    processes.from_first(lambda: _give_up_damaged(arm, missing))
    trainer = make_trainer(policy, reward, prompts.train, training, arm, arm.seed)
    for step, damage in trainer.damaged.items():
        progress.warn(
            f"the checkpoint {arm.checkpoint(step)} is damaged ({damage}) and was stepped over: training goes on from "
            f"step {trainer.step}."
        )

    def kept() -> list[int]:
        return study.answered_steps if training.keep_validated else [*study.choice_steps, *_missing(arm, study)]

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
            _answer(arm, step, policy, prompts, study, label, progress)
        if past:
            policy.load_adapter(arm.checkpoint(trainer.step))
        for step in missing[len(past) :]:
            if step > trainer.step:
                train_to(step)
            _answer(arm, step, policy, prompts, study, label, progress)


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


def _steps_after(run: RunDirectory, study: Study, arm: ArmDirectory) -> int:
    """Steps that are still to be trained on the rewards and seeds after this one."""
    arms = [run.arm(name, seed) for seed in study.seeds for name in study.rewards]
    after = arms[arms.index(arm) + 1 :]
    return sum(study.training.steps - max(other.checkpoint_steps(), default=0) for other in after)


def _check_kept(arm: ArmDirectory, steps: Sequence[int]) -> None:
    """Raises StoreError when a checkpoint that is still to answer something is gone."""
    gone = [step for step in steps if step and step not in arm.checkpoint_steps()]
    if gone:
        raise StoreError(
            f"{arm.path} was trained past step {gone[0]}, and its checkpoint there was not kept, so nothing can be "
            f"answered there. Kept are {', '.join(map(str, arm.checkpoint_steps()))}: let choice.every ask for these "
            "alone, or give the study another name (name=…)."
        )


def _answer(
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


def _share_step_0(run: RunDirectory, study: Study) -> None:
    """Give every arm the start policy's answers: before training all of them are the same model."""
    own = [run.arm(name, seed) for seed in study.seeds for name in study.rewards]
    for arms in (own, [arm.dev for arm in own]):
        answered = next((arm for arm in arms if 0 in arm.rollout_steps()), None)
        if answered is not None:
            rollouts = answered.read_rollouts(0)
            for arm in arms:
                if 0 not in arm.rollout_steps():
                    arm.write_rollouts(0, rollouts)
