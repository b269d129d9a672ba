"""Sample prompts with their completions at the first and the last checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxygold.analysis.scores import ArmScores
from proxygold.records import Prompt, Rollout
from proxygold.store import ArmDirectory

__all__ = ["Answer", "Sample", "choose_prompts", "read_samples"]

SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion with its scores, NaN where there is none. `parts`: node of the reward and its value."""

    step: int
    rollout: Rollout
    proxy: float
    gold: float
    parts: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt, answered by the first and the last checkpoint of one arm. `turns`: (role or None, text)."""

    prompt_id: str
    query_type: str | None
    turns: tuple[tuple[str | None, str], ...]
    reference: str | None
    first: Answer
    last: Answer


def choose_prompts(prompt_ids: Sequence[str], query_types: Sequence[str | None], count: int = SAMPLES) -> list[str]:
    """Draw `count` prompts at random, the same each time, evenly over query types where they allow it.

    Drawn, so that nobody picked the ones that look good; the same for every reward, so that they can be compared.
    They come in the order of the validation set.
    """
    rng = np.random.default_rng(0)
    by_type: dict[str | None, list[str]] = {}
    for index in rng.permutation(len(prompt_ids)):
        by_type.setdefault(query_types[index], []).append(prompt_ids[index])
    chosen: list[str] = []
    queues = sorted(by_type.items(), key=lambda item: str(item[0]))
    while len(chosen) < min(count, len(prompt_ids)):
        for _, queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return sorted(chosen, key=list(prompt_ids).index)


def read_samples(arm: ArmDirectory, scores: ArmScores, prompt_ids: Sequence[str]) -> list[Sample]:
    """The samples of one arm, first and last of its scored checkpoints. What it did not answer is left out."""
    if not set(_ends(scores)) <= set(arm.rollout_steps()):
        return []  # scored elsewhere: the answers are not in this run
    checkpoints = {step: {line.prompt_id: line for line in arm.read_rollouts(step)} for step in _ends(scores)}
    samples = []
    for prompt_id in prompt_ids:
        if prompt_id not in scores.prompt_ids or any(prompt_id not in lines for lines in checkpoints.values()):
            continue
        first, last = (_answer(step, checkpoints[step][prompt_id], scores) for step in _ends(scores))
        rollout = first.rollout
        samples.append(Sample(prompt_id, rollout.query_type, _turns(rollout.prompt), rollout.reference, first, last))
    return samples


def _ends(scores: ArmScores) -> tuple[int, int]:
    return scores.steps[0], scores.steps[-1]


def _answer(step: int, rollout: Rollout, scores: ArmScores) -> Answer:
    row, column = scores.steps.index(step), scores.prompt_ids.index(rollout.prompt_id)
    parts = tuple((text, float(values[row, column])) for text, values in scores.parts.items())
    return Answer(step, rollout, float(scores.proxy[row, column]), float(scores.gold[row, column]), parts)


def _turns(prompt: Prompt) -> tuple[tuple[str | None, str], ...]:
    if isinstance(prompt, str):
        return ((None, prompt),)
    return tuple((message["role"], message["content"]) for message in prompt)
