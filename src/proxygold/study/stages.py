"""The stages of a study, in order. Each writes its files whole and passes over those that are there, so a run resumes.

1. begin    read the prompts; measure `match` on the start policy; leave out what cannot be scored (begin.py)
2. train    PPO on each reward and seed, a checkpoint at every validation step, and between them one to go on from
3. answer   the validation prompts at every checkpoint; step 0 is the start policy's, shared by all
4. score    proxy with its parts, and gold, for every answer (scoring.py)
5. report   the monotonicity table and the page
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.analysis.runs import RunAnalysis, analyse_run
from proxygold.records import PromptRecord
from proxygold.report.build import build_report
from proxygold.store import ArmDirectory, RunDirectory
from proxygold.study.begin import begin_run
from proxygold.study.config import Study
from proxygold.study.progress import Advance, StudyProgress
from proxygold.study.rollouts import sample_rollouts
from proxygold.study.scoring import score_rollouts

if TYPE_CHECKING:
    from proxygold.models.policy import Policy
    from proxygold.rewards.runtime import Reward

__all__ = ["StudyResult", "run_study"]


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A finished run: where it is, the verdict as numbers, its page, and the prompts that were left out."""

    run: RunDirectory
    analysis: RunAnalysis
    report: Path
    rejected: Sequence[Mapping[str, Any]]


def run_study(study: Study, runs: Path, progress: StudyProgress) -> StudyResult:
    """Run every stage that is not done yet in `runs/NAME`, and return the result.

    Raises StoreError when that directory belongs to another study or another process, and what the stages raise.
    """
    run = RunDirectory(runs / study.name)
    with run.lock():
        began = begin_run(run, study, progress)
        policy = began.policy
        for seed in study.seeds:
            for name, reward in began.rewards.items():
                _share_step_0(run, study)
                arm = run.arm(name, seed)
                if _missing(arm, study):
                    policy = policy or _load_policy(study)
                    _train_and_answer(
                        arm, policy, reward, study, began.prompts.train, began.prompts.validation, progress
                    )
        del policy  # the gold model may need the memory
        began.policy = None
        score_rollouts(run, study, began.rewards, began.prompts.validation, progress)
        settings = study.analysis
        analysis = analyse_run(run, draws=settings.draws, seed=settings.seed, threshold=settings.threshold)
        run.write_monotonicity(analysis.as_dict())
        report = build_report(run, analysis)
    return StudyResult(run, analysis, report, began.prompts.rejected)


def _load_policy(study: Study) -> Policy:
    from proxygold.models.policy import Policy

    return Policy.load(study.policy)


def _missing(arm: ArmDirectory, study: Study) -> list[int]:
    """The validation steps whose answers are not written yet."""
    done = set(arm.rollout_steps())
    return [step for step in study.validation_steps if step not in done]


def _train_and_answer(
    arm: ArmDirectory,
    policy: Policy,
    reward: Reward,
    study: Study,
    train: Sequence[PromptRecord],
    validation: Sequence[PromptRecord],
    progress: StudyProgress,
) -> None:
    """Train one reward with one seed, answering the validation prompts at each checkpoint."""
    from proxygold.training.ppo import PPOTrainer

    label = f"{arm.reward}, seed {arm.seed}"
    trainer = PPOTrainer(policy, reward, train, study.training, arm, arm.seed)
    missing = _missing(arm, study)
    # What a stopped run trained but did not answer. The trainer's own weights, which may be of a checkpoint between
    # two validations, are put back after.
    past = [step for step in missing if step < trainer.step]
    for step in past:
        policy.load_adapter(arm.checkpoint(step)) if step else policy.reset(arm.seed)
        _answer(arm, step, policy, validation, study, f"{label}: answer", progress)
    if past:
        policy.load_adapter(arm.checkpoint(trainer.step))
    for step in missing[len(past) :]:
        if step > trainer.step:
            with progress.track(f"{label}: train to step {step}", total=step - trainer.step) as advance:
                trainer.train(
                    until=step,
                    save_every=study.training.save_every,
                    keep=study.validation_steps,
                    on_step=_note(advance),
                )
        _answer(arm, step, policy, validation, study, f"{label}: answer", progress)


def _note(advance: Advance) -> Advance:
    def on_step(record: dict[str, Any]) -> None:
        advance(1, f"reward {record['reward']:.3f}, KL {record['kl']:.2f}")

    return on_step


def _answer(
    arm: ArmDirectory,
    step: int,
    policy: Policy,
    prompts: Sequence[PromptRecord],
    study: Study,
    label: str,
    progress: StudyProgress,
) -> None:
    settings = study.validation
    arm.write_rollouts(
        step,
        sample_rollouts(
            policy,
            prompts,
            settings.sampling,
            seed=settings.seed,
            batch_size=settings.batch_size,
            label=label,
            progress=progress,
        ),
    )


def _share_step_0(run: RunDirectory, study: Study) -> None:
    """Give every arm the start policy's answers: before training all of them are the same model."""
    arms = [run.arm(name, seed) for seed in study.seeds for name in study.rewards]
    answered = next((arm for arm in arms if 0 in arm.rollout_steps()), None)
    if answered is not None:
        rollouts = answered.read_rollouts(0)
        for arm in arms:
            if 0 not in arm.rollout_steps():
                arm.write_rollouts(0, rollouts)
