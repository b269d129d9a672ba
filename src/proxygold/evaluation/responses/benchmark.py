"""What answers are like (Table 3 of the paper) and what gold pays for them by query type (Figure 4).

Length, repetition and how often the model ends by itself; the share of relevant sentences, by a judge and by the
bi-encoder; the gold reward. Each over all answers and by query type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from proxygold.errors import ConfigError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.prompts import EvaluationPrompts
from proxygold.evaluation.answers.subjects import Subject, release
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.judges.judging import Judge, prompt_hash
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.responses.gold_by_type import write_gold_figures
from proxygold.evaluation.responses.measured import (
    GOLD,
    MeasuredResponses,
    ResponsesSettings,
    count_responses,
    gather_responses,
    judge_responses,
    score_responses,
    write_values,
)
from proxygold.evaluation.responses.sentence_judging import SentenceQuestion
from proxygold.evaluation.results import OVERALL, Difference, Evaluation, Metric, ModelResult
from proxygold.evaluation.statistics import grouped_means, mean_metric, paired_differences
from proxygold.records import FloatArray

__all__ = ["BENCHMARK", "ResponsesSettings", "evaluate_responses"]

BENCHMARK = "responses"
_TYPE = "query_type"

# More models than this are compared with a baseline only: 33 checkpoints have 528 pairs.
_PAIRED = 6


def evaluate_responses(
    subjects: Sequence[Subject | GivenOutputs],
    prompts: EvaluationPrompts,
    settings: ResponsesSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: Judge | None = None,
) -> Evaluation:
    """Measure the answers of each subject to `prompts`.

    All models answer first, then answers are scored and judged. Writes the values of each answer to
    MODEL/responses.jsonl. Raises what subjects, the encoder, the reward model and the judge raise; what was answered,
    scored and judged till then is kept.
    """
    records = prompts.records
    names = [subject.name for subject in subjects]
    if settings.baseline is not None and settings.baseline not in names:
        raise ConfigError(f"the baseline {settings.baseline!r} is not among {', '.join(names)}.")
    measured = [
        gather_responses(subject, records, settings, directory, progress, prompts.about.get("limit"))
        for subject in subjects
    ]
    release(subjects)  # before an encoder and gold need the memory
    for subject, model in zip(subjects, measured, strict=True):
        count_responses(model, records, settings, progress)
        score_responses(model, subject, records, settings, directory, progress)
    if judge is not None:
        question = SentenceQuestion(settings.sentence_prompt)
        for model in measured:
            judge_responses(model, records, question, judge, directory, progress)
    for model in measured:
        write_values(model, records, directory)
    types = [record.query_type for record in records]
    notes = [note for model in measured for note in model.notes] + _type_notes(types)
    compared = settings.baseline is not None or len(measured) <= _PAIRED
    if not compared:
        notes.append(f"more than {_PAIRED} models are compared only with a --baseline.")
    results = [
        ModelResult(model.name, _metrics(model.values, types), model.left_out, model.about) for model in measured
    ]
    return Evaluation(
        BENCHMARK,
        _settings(settings, prompts, judge),
        results,
        _differences(measured, types, settings.baseline) if compared else (),
        notes,
        _figure(results, directory),
        rejected=[str(row) for row in prompts.rejected],
    )


def _metrics(values: Mapping[str, FloatArray], types: Sequence[str | None]) -> list[Metric]:
    """Over all answers, then by query type; without one that has no value at all."""
    found = []
    for name, column in values.items():
        if not np.isnan(column).all():
            found.append(mean_metric(name, column))
            found += grouped_means(name, column, types, _TYPE, headline=True)
    return found


def _differences(
    measured: Sequence[MeasuredResponses], types: Sequence[str | None], baseline: str | None
) -> list[Difference]:
    """Of every metric that at least two models have; of gold by query type too, which is what Figure 4 shows."""
    found: list[Difference] = []
    names = dict.fromkeys(name for model in measured for name in model.values)
    for name in names:
        columns = [
            (model.name, model.values[name])
            for model in measured
            if name in model.values and not np.isnan(model.values[name]).all()
        ]
        if baseline is not None and baseline not in dict(columns):
            continue  # nobody counted it there
        found += paired_differences(name, columns, baseline=baseline)
        for label in sorted({label for label in types if label is not None}) if name == GOLD else ():
            chosen = np.array([label == each for each in types], dtype=np.bool_)
            some = [(model, column[chosen]) for model, column in columns]
            found += paired_differences(name, some, baseline=baseline, group=f"{_TYPE}={label}")
    return found


def _figure(results: Sequence[ModelResult], directory: EvaluationDirectory) -> dict[str, str]:
    """Figure 4, when there is gold by query type: the types, and all queries where they have none."""
    gold = {
        result.model: [metric for metric in result.metrics if metric.name == GOLD and metric.group != OVERALL]
        for result in results
    }
    gold = {model: metrics for model, metrics in gold.items() if metrics}
    if not gold:
        return {}
    path = directory.path / "gold_by_query_type.html"
    write_gold_figures(path, gold)
    return {"figure": str(path)}


def _type_notes(types: Sequence[str | None]) -> list[str]:
    without = sum(label is None for label in types)
    if not without:
        return []
    return [f"{without:,} of {len(types):,} prompts have no query type: --query-types local gives them one."]


def _settings(settings: ResponsesSettings, prompts: EvaluationPrompts, judge: Judge | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        **prompts.about,
        "sampling": settings.sampling.model_dump(),
        "seed": settings.seed,
        "stop_strings": list(settings.stop_strings),
        "ngram": settings.ngram,
        "words": "wordpunct",
        "tokenizer": settings.tokenizer,
        "encoder": None if settings.encoder is None else asdict(settings.encoder),
        "threshold": None if settings.encoder is None else settings.threshold,
        "gold": None if settings.gold is None else settings.gold.model_dump(),
    }
    if judge is not None:
        told |= {"judge": dict(judge.about), "judge_prompt": prompt_hash(settings.sentence_prompt)}
    return told
