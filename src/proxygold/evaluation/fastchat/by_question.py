"""Means over judgments of which a question has several (turns, opponents, repeats): their intervals are over questions.

Judgments of one question are alike. An interval that took each for an item of its own would be too narrow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proxygold.evaluation.judges.judging import missing_bounds
from proxygold.evaluation.results import OVERALL, Metric
from proxygold.evaluation.statistics import DRAWS, statistic_metric
from proxygold.records import FloatArray

__all__ = ["Judged", "judgment_mean", "mean_metrics", "missing_note", "question_means", "repeat_metrics"]

_INTERVAL = f"95% percentile bootstrap over questions, {DRAWS:,} draws, seed 0"


@dataclass(frozen=True, slots=True)
class Judged:
    """One judgment of an answer: what it is worth (NaN: not judged), and what it is about. `category` None: not known.

    `opponent`: the other model of a comparison. `repeat` counts judgments of one answer from 1.
    """

    question: str
    turn: int
    value: float
    category: str | None = None
    opponent: str = ""
    repeat: int = 1


def judgment_mean(name: str, judged: Sequence[Judged], *, group: str = OVERALL, headline: bool = True) -> Metric:
    """The mean of all judgments that have a value, with an interval over questions. Counts are of judgments."""
    by_question: dict[str, list[float]] = defaultdict(list)
    for each in judged:
        if not math.isnan(each.value):
            by_question[each.question].append(each.value)
    values = np.array([[sum(found), len(found)] for found in by_question.values()], dtype=np.float64).reshape(-1, 2)
    metric = statistic_metric(name, values, lambda sums: sums[:, 0] / sums[:, 1], group=group, headline=headline)
    return replace(
        metric,
        n_scored=int(values[:, 1].sum()),
        n_total=len(judged),
        # One question says nothing of others.
        low=metric.low if len(values) > 1 else math.nan,
        high=metric.high if len(values) > 1 else math.nan,
        standard_error=metric.standard_error if len(values) > 1 else math.nan,
        interval=_INTERVAL,
    )


def mean_metrics(name: str, judged: Sequence[Judged]) -> list[Metric]:
    """`judgment_mean` of all, by turn (where there is more than one), category, both, opponent and repeat."""
    metrics = [judgment_mean(name, judged)]

    def split(label: Callable[[Judged], str | None], *, headline: bool = False) -> None:
        labels = sorted({found for each in judged if (found := label(each)) is not None})
        if len(labels) > 1 or (labels and "category=" in labels[0]):
            for group in labels:
                chosen = [each for each in judged if label(each) == group]
                metrics.append(judgment_mean(name, chosen, group=group, headline=headline))

    split(lambda each: f"turn={each.turn}", headline=True)
    split(lambda each: None if each.category is None else f"category={each.category}")
    if len({each.turn for each in judged}) > 1:
        split(lambda each: None if each.category is None else f"category={each.category},turn={each.turn}")
    split(lambda each: f"against={each.opponent}")
    split(lambda each: f"repeat={each.repeat}")
    return metrics


def question_means(judged: Iterable[Judged], questions: Sequence[str]) -> FloatArray:
    """(n,) mean judgment of each question, NaN where none has a value."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in judged:
        if not math.isnan(each.value):
            found[each.question].append(each.value)
    return np.array([np.mean(found[name]) if name in found else np.nan for name in questions], dtype=np.float64)


def repeat_metrics(name: str, judged: Sequence[Judged]) -> list[Metric]:
    """How much a judge that was asked several times disagrees with itself; nothing when it was asked once.

    `NAME_judge_sd`: the standard deviation between judgments of the same answer (root of the mean variance).
    `NAME_sd_over_repeats`: the standard deviation of the mean over all answers from one repeat to the next.
    """
    items: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    means: dict[int, list[float]] = defaultdict(list)
    for each in judged:
        if not math.isnan(each.value):
            items[each.question, each.turn, each.opponent].append(each.value)
            means[each.repeat].append(each.value)
    several = {key: found for key, found in items.items() if len(found) > 1}
    if not several:
        return []
    by_question: dict[str, list[float]] = defaultdict(list)
    for (question, _, _), found in several.items():
        by_question[question].append(float(np.var(found, ddof=1)))
    values = np.array([[sum(found), len(found)] for found in by_question.values()], dtype=np.float64)
    noise = statistic_metric(f"{name}_judge_sd", values, lambda sums: np.sqrt(sums[:, 0] / sums[:, 1]))
    noise = replace(noise, n_scored=len(several), n_total=len(items), interval=_INTERVAL)
    if len(means) < 2:  # the same answers in a file twice, with nothing to tell the rounds apart
        return [noise]
    spread = float(np.std([np.mean(found) for found in means.values()], ddof=1))
    return [noise, Metric(f"{name}_sd_over_repeats", spread, len(means), len({each.repeat for each in judged}))]


def missing_note(model: str, name: str, judged: Sequence[Judged], worst: float, best: float) -> str | None:
    """What the mean would be if all that was not judged were worst or best; None when all was judged."""
    values = np.array([each.value for each in judged], dtype=np.float64)
    missing = int(np.isnan(values).sum())
    if not missing:
        return None
    low, high = missing_bounds(values, worst, best)
    return (
        f"{model}: {missing:,} of {len(values):,} judgments are missing. Were all of them {worst:g}, {name} would be "
        f"{low:.4g}; were all {best:g}, {high:.4g}."
    )
