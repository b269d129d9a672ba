"""Score every answer of a run with its proxy reward, parts kept, and with gold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proxygold.records import Example, FloatArray, PromptRecord, Rollout, Scored
from proxygold.rewards.runtime import Reward
from proxygold.store import RunDirectory
from proxygold.study.config import GoldSettings, Study
from proxygold.study.progress import StudyProgress
from proxygold.study.rollouts import as_examples

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["check_gold", "score_rollouts"]


def check_gold(settings: GoldSettings) -> None:
    """All about gold that can be told without its weights: after days of training is too late to learn it.

    Raises ModelError or ConfigError.
    """
    from proxygold.models.reward_models import check_reward_model

    check_reward_model(settings.model, device=settings.device, max_length=settings.max_length)


def score_rollouts(
    run: RunDirectory,
    study: Study,
    rewards: Mapping[str, Reward],
    validation: Sequence[PromptRecord],
    progress: StudyProgress,
) -> None:
    """Write the scores of every checkpoint that has answers and no scores yet."""
    arms = [run.arm(name, seed) for seed in study.seeds for name in study.rewards]
    missing = [(arm, step) for arm in arms for step in arm.rollout_steps() if step not in arm.score_steps()]
    if not missing:
        return
    total = sum(len(arm.read_rollouts(step)) for arm, step in missing)
    with progress.track("score: proxy and gold", total=total) as advance:
        gold = _Gold(study.gold)
        for arm, step in missing:
            rollouts = arm.read_rollouts(step)
            examples = as_examples(rollouts, validation)
            scored = rewards[arm.reward].score(examples)
            arm.write_scores(step, score_table(rollouts, scored, *gold.score(examples)))
            advance(len(rollouts), f"{arm.reward}, seed {arm.seed}, step {step}")


def score_table(
    rollouts: Sequence[Rollout], scored: Scored, gold: FloatArray, gold_reasons: Sequence[str | None]
) -> pa.Table:
    """One row a prompt, in the form that `ArmDirectory.write_scores` describes."""
    import pyarrow as pa

    def numbers(values: FloatArray) -> pa.Array:
        return pa.array(values, type=pa.float64(), from_pandas=True)  # from_pandas: NaN is written as null

    columns: dict[str, Any] = {
        "prompt_id": pa.array([row.prompt_id for row in rollouts], type=pa.string()),
        "query_type": pa.array([row.query_type for row in rollouts], type=pa.string()),
        "proxy": numbers(scored.total),
        "proxy_reason": pa.array(scored.reasons, type=pa.string()),
        "gold": numbers(gold),
        "gold_reason": pa.array(gold_reasons, type=pa.string()),
    }
    columns |= {f"part/{text}": numbers(values) for text, values in scored.parts.items()}
    return pa.table(columns)


class _Gold:
    """The gold model, loaded when first needed; answers that several arms share (step 0) are scored once."""

    def __init__(self, settings: GoldSettings) -> None:
        from proxygold.models.reward_models import load_reward_model

        self._model = load_reward_model(
            settings.model,
            max_length=settings.max_length,
            batch_size=settings.batch_size,
            dtype=settings.dtype,
            device=settings.device,
        )
        self._known: dict[tuple[str, str], tuple[float, str | None]] = {}

    def score(self, examples: Sequence[Example]) -> tuple[FloatArray, tuple[str | None, ...]]:
        import numpy as np

        keys = [(repr(example.prompt), example.completion) for example in examples]
        new = {key: example for key, example in zip(keys, examples, strict=True) if key not in self._known}
        if new:
            values, reasons = self._model.score(list(new.values()))
            self._known.update(zip(new, zip(values.tolist(), reasons, strict=True), strict=True))
        found = [self._known[key] for key in keys]
        return np.array([value for value, _ in found]), tuple(reason for _, reason in found)
