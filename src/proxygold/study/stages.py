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
from proxygold.errors import ConfigError
from proxygold.store import ArmDirectory, RunDirectory
from proxygold.study.apart import train_apart
from proxygold.study.arms import answer_step, missing_steps, train_arm
from proxygold.study.begin import Began, begin_run
from proxygold.study.conclude import conclude
from proxygold.study.config import Study
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts
from proxygold.study.scoring import Answers, score_answers
from proxygold.training.processes import Processes, current_processes
from proxygold.training.trackers import check_trackers

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


def run_study(
    study: Study, runs: Path, progress: StudyProgress, *, gold_later: bool = False, jobs: int = 1
) -> StudyResult:
    """Run every stage that is not done yet in `runs/NAME`, and return the result.

    With `gold_later`, gold is neither looked for nor loaded: `score --gold` does that, here or on another machine.
    `jobs` rewards and seeds are trained at the same time, each in a process of its own (apart.py). Raises StoreError
    when that directory belongs to another study or another process, and what the stages raise.
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
        arms = [(run.arm(name, seed), reward) for seed in study.seeds for name, reward in began.rewards.items()]
        left = [(arm, reward) for arm, reward in arms if jobs > 1 and missing_steps(arm, study)]
        if len(left) > 1 and processes.count == 1:
            _answer_step_0(run, study, left[0][0], began, policy, progress)
            policy = None  # each process has its own
            train_apart(left, study, began.prompts, jobs, progress)
        for seed in study.seeds:
            for name, reward in began.rewards.items():
                processes.from_first(lambda: _share_step_0(run, study))
                arm = run.arm(name, seed)
                if processes.from_first(functools.partial(missing_steps, arm, study)):
                    policy = policy or _load_policy(study)
                    later = processes.from_first(functools.partial(_steps_after, run, study, arm))
                    train_arm(arm, policy, reward, study, began.prompts, progress, later)
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


def _answer_step_0(
    run: RunDirectory,
    study: Study,
    arm: ArmDirectory,
    began: Began,
    policy: Policy | None,
    progress: StudyProgress,
) -> None:
    """Have the start policy answer once for all arms, unless it has."""
    _share_step_0(run, study)
    if 0 in missing_steps(arm, study):
        policy = policy or _load_policy(study)
        policy.reset(arm.seed)
        answer_step(arm, 0, policy, began.prompts, study, f"{arm.reward}, seed {arm.seed}", progress)
        _share_step_0(run, study)


def _load_policy(study: Study) -> Policy:
    from proxygold.models.policy import Policy
    from proxygold.training.sharding import load_sharded, sharding_wanted

    processes = current_processes()
    return load_sharded(study.policy, processes) if sharding_wanted(processes) else Policy.load(study.policy)


def _steps_after(run: RunDirectory, study: Study, arm: ArmDirectory) -> int:
    """Steps that are still to be trained on the rewards and seeds after this one."""
    arms = [run.arm(name, seed) for seed in study.seeds for name in study.rewards]
    after = arms[arms.index(arm) + 1 :]
    return sum(study.training.steps - max(other.checkpoint_steps(), default=0) for other in after)


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
