"""What Super-NaturalInstructions reports: means with intervals over all, by category and by task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proxygold.evaluation.results import Difference, Metric, ModelResult
from proxygold.evaluation.statistics import grouped_means, mean_metric, paired_differences
from proxygold.evaluation.super_ni.categories import CLASSIFICATION
from proxygold.evaluation.super_ni.data import Instance, InstanceSet
from proxygold.evaluation.super_ni.prompts import Protocol
from proxygold.evaluation.super_ni.scores import InstanceScores, rouge_readable
from proxygold.records import FloatArray

__all__ = ["model_differences", "model_metrics", "notes"]


def model_metrics(scores: InstanceScores, instances: Sequence[Instance], protocol: Protocol) -> list[Metric]:
    """`rouge_l` of the protocol and `exact_match`, of all instances, of each category and of each task.

    Also `rouge_l` of the other protocol's references, and the mean over tasks of their means. On the terminal a
    category shows the one that the original tool reports of it.
    """
    rouge_l = _rouge_l(scores, protocol)
    metrics = [
        mean_metric("rouge_l", rouge_l),
        mean_metric("exact_match", scores.exact_match),
        (
            mean_metric("rouge_l_best", scores.rouge_l_best, headline=False)
            if protocol == "paper"
            else mean_metric("rouge_l_first", scores.rouge_l_first, headline=False)
        ),
        # Instances of a task are alike. Its interval says what other tasks would change, that of rouge_l what other
        # instances of these tasks would.
        mean_metric("rouge_l_mean_of_tasks", _task_means(rouge_l, instances), headline=False),
    ]
    for name, values in (("rouge_l", rouge_l), ("exact_match", scores.exact_match)):
        for metric in grouped_means(name, values, [instance.category for instance in instances], "category"):
            is_label = metric.group.removeprefix("category=") in CLASSIFICATION
            metrics.append(replace(metric, headline=is_label == (name == "exact_match")))
        metrics += grouped_means(name, values, [instance.task for instance in instances], "task")
    return metrics


def model_differences(
    scored: Sequence[tuple[str, InstanceScores]],
    instances: Sequence[Instance],
    protocol: Protocol,
    baseline: str | None,
) -> list[Difference]:
    """Differences between models on the same instances, of all and of each category, and on the same tasks."""
    found: list[Difference] = []
    labels = np.array([instance.category or "" for instance in instances])
    values = {
        "rouge_l": [(model, _rouge_l(scores, protocol)) for model, scores in scored],
        "exact_match": [(model, scores.exact_match) for model, scores in scored],
    }
    for name, by_model in values.items():
        found += paired_differences(name, by_model, baseline=baseline)
        for category in sorted(set(labels) - {""}):
            part = [(model, each[labels == category]) for model, each in by_model]
            group = f"category={category}"
            found += paired_differences(name, part, baseline=baseline, group=group, headline=False)
    of_tasks = [(model, _task_means(each, instances)) for model, each in values["rouge_l"]]
    found += paired_differences("rouge_l_mean_of_tasks", of_tasks, baseline=baseline, headline=False)
    return found


def notes(found: InstanceSet, models: Sequence[ModelResult], protocol: Protocol) -> list[str]:
    """Sentences about what the numbers are of."""
    said = [f"{len(found.instances):,} instances of {len(found.tasks):,} tasks, protocol {protocol}."]
    compared = [instance.references[:1] if protocol == "paper" else instance.references for instance in found.instances]
    unread = sum(not any(map(rouge_readable, references)) for references in compared)
    if unread:
        said.append(
            f"{unread:,} instances have no reference with a letter a to z or a digit. ROUGE reads nothing else, so "
            "that rouge_l is 0 there whatever the answer, as in the original tool."
        )
    for model in models:
        rouge_l = model.metrics[0]
        missing = rouge_l.n_total - rouge_l.n_scored
        if missing and rouge_l.n_scored:
            counted = rouge_l.value * rouge_l.n_scored / rouge_l.n_total
            said.append(
                f"{model.model}: rouge_l is {counted:.2f} with the {missing:,} that have no answer counted as empty "
                "answers, which is how the original tool counts them."
            )
    return said


def _rouge_l(scores: InstanceScores, protocol: Protocol) -> FloatArray:
    return scores.rouge_l_first if protocol == "paper" else scores.rouge_l_best


def _task_means(values: FloatArray, instances: Sequence[Instance]) -> FloatArray:
    """(tasks,) the mean of each task's values; NaN for a task without any."""
    tasks = np.array([instance.task for instance in instances])
    means = []
    for task in dict.fromkeys(tasks.tolist()):
        scored = values[(tasks == task) & ~np.isnan(values)]
        means.append(float(scored.mean()) if len(scored) else math.nan)
    return np.array(means)
