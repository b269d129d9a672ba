"""Score every answer of a run with its proxy reward, parts kept, and with gold.

The two need not be scored together: gold may be too large for the machine that trains. What is to be scored later is
written as such (`NOT_SCORED`), and filled in where it stands.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from proxygold.records import Example, FloatArray, PromptRecord, Rollout, Scored
from proxygold.rewards.runtime import Reward
from proxygold.store import NOT_SCORED, ArmDirectory
from proxygold.study.config import GoldSettings
from proxygold.study.progress import StudyProgress
from proxygold.study.rollouts import as_examples
from proxygold.training.gathering import gather_scored
from proxygold.training.processes import Processes, current_processes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Answers", "check_gold", "gold_identity", "score_answers"]


@dataclass(frozen=True, slots=True)
class Answers:
    """Where answers of one reward and seed are, and what scores them.

    `proxy`: the reward, None to leave it for later. `prompts`: what was answered, for the columns that features of
    one's own may read. `gold`: whether gold is wanted on these answers.
    """

    arm: ArmDirectory
    proxy: Reward | None = None
    prompts: Sequence[PromptRecord] = ()
    gold: bool = True


def check_gold(settings: GoldSettings) -> None:
    """All about gold that can be told without its weights: after days of training is too late to learn it.

    Raises ModelError or ConfigError.
    """
    from proxygold.models.reward_models import check_reward_model

    check_reward_model(settings)


def gold_identity(settings: GoldSettings) -> dict[str, str]:
    """What decides gold's scores beside its settings: its weights, and the dtype that `auto` is on this machine.

    A run must not be scored on with others.
    """
    from proxygold.models.causal_lm import pick_device, pick_dtype
    from proxygold.models.reward_models import reward_model_identity

    identity = {"weights": reward_model_identity(settings)}
    if not settings.is_remote:
        identity["dtype"] = str(pick_dtype(settings.dtype, pick_device(settings.device))).removeprefix("torch.")
    return identity


def score_answers(answers: Sequence[Answers], gold: GoldSettings | None, progress: StudyProgress) -> None:
    """Write the scores that are missing at every checkpoint that has answers. Without `gold`, it is left for later.

    Of several processes each scores its share of the answers, and the first writes.
    """
    processes = current_processes()
    missing, total = processes.from_first(lambda: _missing(answers, gold))
    if not missing:
        return
    model = _Gold(gold) if gold is not None and any(wanted for *_, wanted in missing) else None
    by = " and ".join(
        name for name, scores in (("proxy", any(p for *_, p, _ in missing)), ("gold", model is not None)) if scores
    )
    with progress.track(f"score: {by}", total=total) as advance:
        for place, step, proxy, wanted in missing:
            item = answers[place]
            arm = item.arm
            rollouts = processes.from_first(functools.partial(arm.read_rollouts, step))
            examples = as_examples(rollouts, item.prompts)
            share = processes.share(len(examples))
            own = examples[share.start : share.stop]
            columns: dict[str, Any] = {}
            if proxy and item.proxy is not None:
                columns |= _proxy_columns(gather_scored(item.proxy.score(own), processes))
            if wanted and model is not None:
                columns |= _gold_columns(*_gathered(model.score(own), processes))
            processes.from_first(functools.partial(_write, arm, step, rollouts, columns))
            advance(len(rollouts), f"{arm.reward}, seed {arm.seed}, step {step}")


def _missing(answers: Sequence[Answers], gold: GoldSettings | None) -> tuple[list[tuple[int, int, bool, bool]], int]:
    """Which of `answers`, at which step, lacks proxy and lacks gold scores; and how many rollouts these are."""
    missing: list[tuple[int, int, bool, bool]] = []
    for place, item in enumerate(answers):
        done = {by: set(item.arm.scored_steps(by)) for by in ("proxy", "gold")}
        for step in item.arm.rollout_steps():
            proxy = item.proxy is not None and step not in done["proxy"]
            wanted = gold is not None and item.gold and step not in done["gold"]
            if proxy or wanted:
                missing.append((place, step, proxy, wanted))
    return missing, sum(len(answers[place].arm.read_rollouts(step)) for place, step, *_ in missing)


_GoldScores = tuple[FloatArray, tuple[str | None, ...]]


def _gathered(scores: _GoldScores, processes: Processes) -> _GoldScores:
    every = processes.gather(scores)
    return np.concatenate([values for values, _ in every]), tuple(reason for _, reasons in every for reason in reasons)


def _write(arm: ArmDirectory, step: int, rollouts: Sequence[Rollout], columns: Mapping[str, Any]) -> None:
    """Write new `columns` into the table of a checkpoint."""
    arm.write_scores(step, _table({**_columns(arm, step, rollouts), **columns}))


# --- the table that `ArmDirectory.write_scores` describes -------------------------------------------------------------


def _columns(arm: ArmDirectory, step: int, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """What is in the table of a checkpoint so far; where there is none, that nothing is scored yet.

    Scores of other prompts than were answered (of answers that were deleted and made again) are dropped.
    """
    ids = [row.prompt_id for row in rollouts]
    if step in arm.score_steps():
        table = arm.read_scores(step)
        if table["prompt_id"].to_pylist() == ids:
            return {name: table[name].to_pylist() for name in table.column_names}
    later = [NOT_SCORED] * len(rollouts)
    return {
        "prompt_id": ids,
        "query_type": [row.query_type for row in rollouts],
        "proxy": [None] * len(rollouts),
        "proxy_reason": later,
        "gold": [None] * len(rollouts),
        "gold_reason": later,
    }


def _proxy_columns(scored: Scored) -> dict[str, Any]:
    parts = {f"part/{text}": values for text, values in scored.parts.items()}
    return {"proxy": scored.total, "proxy_reason": scored.reasons, **parts}


def _gold_columns(gold: FloatArray, reasons: Sequence[str | None]) -> dict[str, Any]:
    return {"gold": gold, "gold_reason": reasons}


_TEXT = {"prompt_id", "query_type", "proxy_reason", "gold_reason"}


def _table(columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    # from_pandas: NaN is written as null
    return pa.table(
        {
            name: pa.array(values, type=pa.string())
            if name in _TEXT
            else pa.array(values, type=pa.float64(), from_pandas=True)
            for name, values in columns.items()
        }
    )


class _Gold:
    """The gold model, loaded when first needed; answers that several arms share (step 0) are scored once."""

    def __init__(self, settings: GoldSettings) -> None:
        from proxygold.models.reward_models import open_reward_model

        self._model = open_reward_model(settings)
        self._known: dict[tuple[str, str], tuple[float, str | None]] = {}

    def score(self, examples: Sequence[Example]) -> tuple[FloatArray, tuple[str | None, ...]]:
        keys = [(repr(example.prompt), example.completion) for example in examples]
        new = {key: example for key, example in zip(keys, examples, strict=True) if key not in self._known}
        if new:
            values, reasons = self._model.score(list(new.values()))
            self._known.update(zip(new, zip(values.tolist(), reasons, strict=True), strict=True))
        found = [self._known[key] for key in keys]
        return np.array([value for value, _ in found]), tuple(reason for _, reason in found)
