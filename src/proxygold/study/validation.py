"""Checkpoints that any trainer made: answered, scored by proxy and gold, judged. No training takes place.

What is written is a run directory like a study's, so that `monotonicity`, `report` and `score --gold` work on it. Each
part is passed over where it is done, so that one call can answer, another on another machine score, and a later one go
on with checkpoints that came since.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from proxygold.errors import RewardError, StoreError
from proxygold.models.fingerprint import checkpoint_fingerprint
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.records import PromptRecord
from proxygold.rewards.runtime import Reward, reward
from proxygold.store import ArmDirectory, RunDirectory
from proxygold.study.changes import FREE, differences, is_scored, listed
from proxygold.study.checkpoint_files import find_checkpoints
from proxygold.study.checkpoint_settings import PROXY, CheckpointStudy
from proxygold.study.conclude import conclude
from proxygold.study.config import GoldSettings
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts, fingerprint, read_split, reject_unreadable, reject_unscorable
from proxygold.study.provenance import provenance
from proxygold.study.rollouts import sample_rollouts
from proxygold.study.scoring import Answers, check_gold, gold_identity, score_answers
from proxygold.study.stages import StudyResult
from proxygold.training.processes import current_processes

if TYPE_CHECKING:
    from proxygold.models.policy import Policy

__all__ = ["validate_checkpoints", "written_settings"]


def validate_checkpoints(
    settings: CheckpointStudy,
    run: RunDirectory,
    progress: StudyProgress,
    *,
    answer: bool = True,
    proxy: bool = True,
    gold: bool = True,
) -> StudyResult:
    """Do what is not done yet of answering, scoring and judging.

    Without `answer`, the checkpoints and prompts need not be here: what is answered is scored. Without `proxy` or
    `gold`, that score is left for later, and its models need not be here; so is one that `settings` do not name. Raises
    StoreError when the directory holds something else, DataError for prompts or checkpoints that cannot be used, and
    what the models raise.
    """
    processes = current_processes()
    with run.lock() if processes.first else nullcontext():
        scorer = _proxy(settings) if proxy else None
        arms = [run.arm(PROXY, seed) for seed in settings.seeds]
        # Gold that has scored all there is need not be on this machine.
        judged = not answer and processes.from_first(lambda: all(_is_judged(arm) for arm in arms))
        judge = settings.gold if gold and not judged else None

        def begin() -> tuple[Sequence[Mapping[int, str]], tuple[PromptRecord, ...]]:
            _check_settings(run, settings)
            if judge is not None:
                check_gold(judge)
            if not answer:
                _record(run, settings, _fixed(settings, scorer, judge))
                return [], ()
            found = find_checkpoints(settings.checkpoints)
            read = _prompts(settings, scorer, progress)
            _record(run, settings, _fixed(settings, scorer, judge, read, found))
            run.write_rejected(read.rejected)
            return found, read.validation

        found, prompts = processes.from_first(begin)
        if answer:
            _answer(run, settings, found, prompts, progress)
        if not any(arm.rollout_steps() for arm in arms):
            raise StoreError(f"{run.path} has no answers to score. Give --checkpoints and --prompts.")
        score_answers([Answers(arm, scorer, prompts) for arm in arms], judge, progress)
        analysis, report = processes.from_first(lambda: conclude(run))
    return StudyResult(run, analysis, report, run.read_rejected())


def _is_judged(arm: ArmDirectory) -> bool:
    """Whether gold has scored every answer of an arm that has some."""
    return bool(arm.rollout_steps()) and arm.scored_steps("gold") == arm.rollout_steps()


def _proxy(settings: CheckpointStudy) -> Reward | None:
    line = settings.rewards.proxy
    if line is None:
        return None
    template = settings.policy.prompt_template
    proxy = reward(
        line,
        encoder=settings.encoder,
        template=None if template == "chat" else template,
        max_new_tokens=settings.validation.max_new_tokens,
        plugins=settings.plugins,
    )
    if not proxy.resolved:
        raise RewardError(
            f"{proxy} has a `match` that has not been measured. Give the line that the policy was trained on, with its "
            "numbers: rescale(AR, 0, highest, 0, new_highest)."
        )
    return proxy


def _prompts(settings: CheckpointStudy, proxy: Reward | None, progress: StudyProgress) -> StudyPrompts:
    """The prompts that the start model has room for and the proxy can score, and why the others are left out."""
    records, rejected = read_split(settings.data.validation, "validation", settings.data.validation_limit)
    tokens = settings.validation.max_new_tokens
    prompts = reject_unreadable(
        StudyPrompts((), records, tuple(rejected)),
        settings.policy.of(settings.policy.model),
        progress,
        training=tokens,
        validation=tokens,
    )
    return prompts if proxy is None else reject_unscorable(prompts, {PROXY: proxy})


# --- answering --------------------------------------------------------------------------------------------------------


def _answer(
    run: RunDirectory,
    settings: CheckpointStudy,
    found: Sequence[Mapping[int, str]],
    prompts: Sequence[PromptRecord],
    progress: StudyProgress,
) -> None:
    """Have every checkpoint answer that has not yet; the start model once for all training runs."""
    start, processes = settings.policy.model, current_processes()
    for seed, checkpoints in zip(settings.seeds, found, strict=True):
        arm = run.arm(PROXY, seed)
        first = run.arm(PROXY, 0)
        done = processes.from_first(arm.rollout_steps)
        for step, model in {0: start, **checkpoints}.items():
            if step in done:
                continue
            if step == 0 and seed and 0 not in checkpoints:
                processes.from_first(functools.partial(_copy_start, first, arm))
                continue
            policy = _load(settings.policy.of(model))
            rollouts = sample_rollouts(
                policy,
                prompts,
                settings.validation.sampling,
                seed=settings.validation.seed,
                batch_size=settings.validation.batch_size,
                label=f"answer: {f'run {seed}, ' if len(found) > 1 else ''}step {step}",
                progress=progress,
            )
            processes.from_first(functools.partial(arm.write_rollouts, step, rollouts))
            del policy  # before the next one is loaded


def _copy_start(first: ArmDirectory, arm: ArmDirectory) -> None:
    arm.write_rollouts(0, first.read_rollouts(0))


def _load(settings: PolicySettings) -> Policy:
    """A checkpoint to sample from. Sampling needs an adapter on whatever model: a fresh one, which changes nothing."""
    from proxygold.models.causal_lm import decoder_layers, load_causal_lm, load_tokenizer, pick_device, pick_dtype
    from proxygold.models.policy import Policy

    device = pick_device(settings.device)
    model = load_causal_lm(settings.model, pick_dtype(settings.dtype, device), device, settings.quantization)
    names = [name for name, module in decoder_layers(model)[-1].named_modules() if _is_linear(module)]
    lora = LoraSettings(r=1, alpha=1, layers=1, target_modules=(names[0].rsplit(".", 1)[-1],))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # PEFT on GPT-2's layers: it does what it says
        return Policy(settings.model_copy(update={"lora": lora}), model, load_tokenizer(settings.model))


def _is_linear(module: Any) -> bool:
    from torch import nn
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layers

    return isinstance(module, nn.Linear | Conv1D)


# --- what a directory was begun with ----------------------------------------------------------------------------------


def written_settings(run: RunDirectory) -> dict[str, Any]:
    """What `run` was begun with. Raises StoreError when it is a study's."""
    written = run.read_study()
    if "checkpoints" not in written:
        raise StoreError(
            f"{run.path} is a study's run, which `proxygold run` goes on with and `proxygold score {run.path} --gold` "
            "scores. Give another --out."
        )
    return {name: value for name, value in written.items() if name != "seeds"}  # which follow from the checkpoints


def _check_settings(run: RunDirectory, settings: CheckpointStudy) -> None:
    """Raises StoreError when `run` was begun with other settings. Patterns, a reward and a gold may be added."""
    if not run.exists():
        return
    before = written_settings(run)
    scored = {"gold.": is_scored(run), f"rewards.{PROXY}": any(arm.scored_steps("proxy") for arm in run.arms())}
    refused = {}
    for place, (old, new) in differences(before, settings.model_dump(mode="json")).items():
        free = any(place == name or place.startswith(f"{name}.") for name in FREE)
        added = place == "checkpoints" and new[: len(old)] == old
        later = any(place.startswith(name) or place == name.rstrip(".") for name, done in scored.items() if not done)
        if not (free or added or later):
            refused[place] = (old, new)
    if refused:
        raise StoreError(
            f"{run.path} holds something else; it differs in {listed(refused)}. Nothing was changed. "
            "Give another --out, or remove that directory."
        )


def _fixed(
    settings: CheckpointStudy,
    proxy: Reward | None,
    gold: GoldSettings | None,
    prompts: StudyPrompts | None = None,
    found: Sequence[Mapping[int, str]] = (),
) -> dict[str, Any]:
    """What decides the results beside the settings, and lies outside the directory; what is not here is left out."""
    fixed: dict[str, Any] = {}
    if prompts is not None:
        rows = prompts.validation
        fixed["prompts"] = {"validation": {"count": len(rows), "sha256": fingerprint(rows)}}
    if found:
        models = {f"{seed}/{step}": path for seed, steps in enumerate(found) for step, path in steps.items()}
        fixed["checkpoints"] = {
            name: checkpoint_fingerprint(path) for name, path in {"start": settings.policy.model, **models}.items()
        }
    if proxy is not None:
        fixed["rewards"] = {PROXY: proxy.reward_id}
    if gold is not None:
        fixed["gold"] = gold_identity(gold)
    return fixed


def _record(run: RunDirectory, settings: CheckpointStudy, fixed: Mapping[str, Any]) -> None:
    """Write down settings and what is fixed. Raises StoreError when something fixed is no longer what it was."""
    record = run.read_provenance() if run.exists() else provenance()
    before = record.get("fixed", {})
    moved = {
        place: (old, new)
        for place, (old, new) in differences(before, fixed).items()
        if old is not None and new is not None and (is_scored(run) or not place.startswith("gold."))
    }
    if moved:
        raise StoreError(
            f"{run.path} cannot go on: {listed(moved)} changed since it began. Behind it is a data file, the files "
            "of a model, or a feature's code. Put it back, or give another --out."
        )
    run.write_provenance({**record, "fixed": _merged(before, fixed)})
    run.write_study({**settings.model_dump(mode="json"), "seeds": settings.seeds})


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested records in one, the new values over the old."""
    merged = {**old, **new}
    for key in old.keys() & new.keys():
        if isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            merged[key] = _merged(old[key], new[key])
    return merged
