"""Completions of a policy on the prompts of a study, as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import Example, PromptRecord, Rollout
from proxygold.study.progress import StudyProgress
from proxygold.training.processes import Processes, current_processes

if TYPE_CHECKING:
    from proxygold.models.policy import Policy

__all__ = ["as_examples", "sample_rollouts"]


def sample_rollouts(
    policy: Policy,
    prompts: Sequence[PromptRecord],
    sampling: SamplingSettings,
    *,
    seed: int,
    batch_size: int,
    label: str,
    progress: StudyProgress,
    processes: Processes | None = None,
) -> list[Rollout]:
    """One completion of each prompt by the policy as it is now, in the prompts' order.

    Of several processes each answers its share, and all have all answers then. They are the same for any number of
    processes, but for the rounding of logits.
    """
    from proxygold.models.generation import generate
    from proxygold.training.sharding import in_step

    processes = processes or current_processes()
    # Every so many-th, not a stretch of them: data sets are sorted, and answers to one kind are of like length.
    mine = range(processes.rank, len(prompts), processes.count)
    with progress.track(label, total=len(mine)) as advance, in_step(policy, processes):
        done = 0

        def count(total_done: int) -> None:
            nonlocal done
            advance(total_done - done)
            done = total_done

        completions = generate(
            policy,
            [prompts[index].prompt for index in mine],
            sampling,
            seed=seed,
            batch_size=batch_size,
            numbers=mine,
            progress=count,
        )
    every = processes.gather(completions)
    completions = [every[index % processes.count][index // processes.count] for index in range(len(prompts))]
    return [
        Rollout(
            prompt_id=row.id,
            prompt=row.prompt,
            completion=completion.text,
            tokens=len(completion.token_ids),
            finished=completion.finished,
            reference=row.reference,
            query_type=row.query_type,
        )
        for row, completion in zip(prompts, completions, strict=True)
    ]


def as_examples(rollouts: Sequence[Rollout], prompts: Sequence[PromptRecord]) -> list[Example]:
    """What a reward scores: each rollout with its prompt's other columns."""
    columns = {row.id: row.columns for row in prompts}
    return [
        Example(row.prompt, row.completion, row.reference, row.query_type, columns.get(row.prompt_id, {}))
        for row in rollouts
    ]
