"""Scores of one training run, arranged as arrays: checkpoints by prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proxygold.records import FloatArray

__all__ = ["ArmScores", "StepScores", "arrange"]


@dataclass(frozen=True, slots=True)
class StepScores:
    """The scores of one checkpoint: `proxy`, `gold` and each of `parts` are (n,), NaN where missing."""

    prompt_ids: Sequence[str]
    query_types: Sequence[str | None]
    proxy: FloatArray
    gold: FloatArray
    parts: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class ArmScores:
    """One reward and one seed: `steps` (k,), `proxy`, `gold` and each of `parts` (k, n), NaN where missing.

    `notes` says what was left out on the way here.
    """

    reward: str
    seed: int
    steps: tuple[int, ...]
    prompt_ids: tuple[str, ...]
    query_types: tuple[str | None, ...]
    proxy: FloatArray
    gold: FloatArray
    parts: Mapping[str, FloatArray]
    notes: tuple[str, ...] = ()

    def prompts_where(self, mask: NDArray[np.bool_]) -> ArmScores:
        """The same, for the prompts that `mask` (n,) marks."""
        chosen = np.flatnonzero(mask)
        return replace(
            self,
            prompt_ids=tuple(self.prompt_ids[i] for i in chosen),
            query_types=tuple(self.query_types[i] for i in chosen),
            proxy=self.proxy[:, chosen],
            gold=self.gold[:, chosen],
            parts={name: values[:, chosen] for name, values in self.parts.items()},
        )


def arrange(reward: str, seed: int, by_step: Mapping[int, StepScores]) -> ArmScores:
    """Line up the checkpoints of one arm by prompt, in the order in which prompts first appear.

    A prompt that is missing at a checkpoint is NaN there. A checkpoint without a single finite score in
    either reward was not scored by it (gold may be run later, elsewhere): it is left out with a note, because
    keeping it would leave out every prompt.
    """
    unscored = {
        name: [step for step, scores in sorted(by_step.items()) if not np.any(np.isfinite(getattr(scores, name)))]
        for name in ("proxy", "gold")
    }
    notes = tuple(
        f"Left out, no {name} score at all: step {', '.join(map(str, steps))}."
        for name, steps in unscored.items()
        if steps
    )
    kept = sorted(set(by_step) - set(unscored["proxy"]) - set(unscored["gold"]))
    types: dict[str, str | None] = {}
    for step in kept:
        for prompt_id, query_type in zip(by_step[step].prompt_ids, by_step[step].query_types, strict=True):
            types.setdefault(prompt_id, query_type)
    row = {prompt_id: index for index, prompt_id in enumerate(types)}

    def matrix(columns: Sequence[FloatArray | None]) -> FloatArray:
        filled = np.full((len(kept), len(row)), np.nan)
        for index, (step, column) in enumerate(zip(kept, columns, strict=True)):
            if column is not None:
                filled[index, [row[prompt_id] for prompt_id in by_step[step].prompt_ids]] = column
        return filled

    part_names = dict.fromkeys(name for step in kept for name in by_step[step].parts)
    return ArmScores(
        reward=reward,
        seed=seed,
        steps=tuple(kept),
        prompt_ids=tuple(row),
        query_types=tuple(types.values()),
        proxy=matrix([by_step[step].proxy for step in kept]),
        gold=matrix([by_step[step].gold for step in kept]),
        parts={name: matrix([by_step[step].parts.get(name) for step in kept]) for name in part_names},
        notes=notes,
    )
