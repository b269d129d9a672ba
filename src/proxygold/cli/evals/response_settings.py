"""What `eval responses` makes of its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from proxygold.errors import ConfigError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.prompts import EvaluationPrompts
from proxygold.evaluation.answers.subjects import Subject, open_subjects
from proxygold.evaluation.responses.benchmark import ResponsesSettings
from proxygold.evaluation.responses.run_answers import run_outputs
from proxygold.evaluation.responses.sentence_judging import DEFAULT_PROMPT, read_sentence_prompt
from proxygold.evaluation.self_bleu.sampled_answers import asked_prompts
from proxygold.models.encoder import EncoderSettings
from proxygold.models.policy_settings import SamplingSettings
from proxygold.models.reward_settings import RewardModelSettings, reward_model_settings
from proxygold.rewards.options import parse_options
from proxygold.store import RunDirectory
from proxygold.templates import get_template
from proxygold.text import GENERIC_STOP_STRINGS

__all__ = ["read_settings", "read_subjects"]

_GOLD, _ENCODER = "gold.", "encoder."


def read_subjects(
    models: Sequence[str] | None,
    adapters: Sequence[str] | None,
    outputs: Sequence[str] | None,
    runs: Sequence[Path] | None,
    *,
    steps: str,
    prompts: str | None,
    query_types: str | None,
    limit: int | None,
    answering: Mapping[str, Any],
) -> tuple[list[Subject | GivenOutputs], EvaluationPrompts]:
    """Whose answers, and to what. Raises as `open_subjects`, `run_outputs` and `asked_prompts`."""
    subjects: list[Subject | GivenOutputs] = []
    if models or adapters or outputs or not runs:
        subjects += open_subjects(models, adapters, outputs, **answering)
    for run in runs or ():
        subjects += run_outputs(RunDirectory(run), steps)
    names = [subject.name for subject in subjects]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{twice[0]!r} is the name of more than one of those to compare. Give one run at a time.")
    return subjects, asked_prompts(subjects, prompts, limit=limit, query_types=query_types)


def read_settings(
    settings: Sequence[str],
    *,
    template: str,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    ngram: int,
    tokenizer: str | None,
    encoder: str,
    threshold: float,
    gold: str | None,
    sentence_prompt: Path | None,
    baseline: str | None,
) -> tuple[ResponsesSettings, list[str]]:
    """What is measured, and those of `settings` (KEY=VALUE) that are for the judge. Raises ConfigError."""
    of_gold = [setting for setting in settings if setting.startswith(_GOLD)]
    of_encoder = [setting for setting in settings if setting.startswith(_ENCODER)]
    chosen = ResponsesSettings(
        sampling=SamplingSettings(max_new_tokens=max_new_tokens, temperature=temperature),
        seed=seed,
        stop_strings=GENERIC_STOP_STRINGS if template == "chat" else get_template(template).stop_strings,
        ngram=ngram,
        encoder=_encoder(encoder, of_encoder),
        threshold=threshold,
        sentence_prompt=DEFAULT_PROMPT if sentence_prompt is None else read_sentence_prompt(sentence_prompt),
        gold=_gold(gold, of_gold),
        tokenizer=tokenizer,
        baseline=baseline,
    )
    return chosen, [setting for setting in settings if setting not in (*of_gold, *of_encoder)]


def _encoder(name: str, settings: Sequence[str]) -> EncoderSettings | None:
    if name == "none":
        if settings:
            raise ConfigError(f"{settings[0]} sets an encoder, and this is --encoder none. Leave one of them out.")
        return None
    return parse_options(name, settings).encoder


def _gold(name: str | None, settings: Sequence[str]) -> RewardModelSettings | None:
    given: dict[str, Any] = {} if name is None else {"model": name}
    for setting in settings:
        key, equals, value = setting.removeprefix(_GOLD).partition("=")
        if not equals:
            raise ConfigError(f"{setting!r} is no setting. Write gold.KEY=VALUE, such as gold.batch_size=4.")
        given[key] = yaml.safe_load(value)
    return reward_model_settings(**given) if given else None
