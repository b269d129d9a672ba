"""The numbers of Self-BLEU: of each prompt, overall and by query type, and between models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxygold.evaluation.results import Difference, Metric
from proxygold.evaluation.self_bleu.leave_one_out import leave_one_out_bleu
from proxygold.evaluation.statistics import grouped_means, mean_metric, paired_differences, statistic_metric
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, FloatArray
from proxygold.text import split_words

__all__ = ["GAP", "SELF_BLEU", "PromptScores", "score_answers", "self_bleu_differences", "self_bleu_metrics"]

SELF_BLEU = "self_bleu"
GAP = "closed_minus_open"


@dataclass(frozen=True, slots=True)
class PromptScores:
    """One model's: Self-BLEU of each prompt (n,), NaN where there are no answers; BLEU and words of each answer."""

    values: FloatArray
    bleu: Sequence[Sequence[float]]
    lengths: Sequence[Sequence[int]]


def score_answers(texts: Sequence[Sequence[str]], *, order: int, words: str) -> PromptScores:
    """Self-BLEU of the answers to each prompt: the mean over them of BLEU against the others."""
    split = [[split_words(text, words) for text in answers] for answers in texts]
    bleu = [scores.tolist() for scores in leave_one_out_bleu(split, order)]
    values = np.array([float(np.mean(scores)) if scores else np.nan for scores in bleu])
    return PromptScores(values, bleu, [list(map(len, answers)) for answers in split])


def self_bleu_metrics(scores: PromptScores, types: Sequence[str | None]) -> list[Metric]:
    """Self-BLEU overall and by query type, the gap between the types, and words an answer."""
    lengths = np.array([float(np.mean(found)) if found else np.nan for found in scores.lengths])
    metrics = [mean_metric(SELF_BLEU, scores.values)]
    metrics += grouped_means(SELF_BLEU, scores.values, types, "query_type", headline=True)
    if {OPEN_ENDED, CLOSED_ENDED} <= set(types):
        metrics.append(_gap(scores.values, types))
    metrics.append(mean_metric("words", lengths, headline=False))
    return [*metrics, *grouped_means("words", lengths, types, "query_type")]


def self_bleu_differences(
    by_model: Sequence[tuple[str, FloatArray]], types: Sequence[str | None], baseline: str | None
) -> list[Difference]:
    """Between models, paired by prompt, overall and for each query type."""
    found = paired_differences(SELF_BLEU, by_model, baseline=baseline)
    for kind in sorted({kind for kind in types if kind is not None}):
        has = np.array([other == kind for other in types])
        part = [(name, np.where(has, values, np.nan)) for name, values in by_model]
        found += paired_differences(SELF_BLEU, part, baseline=baseline, group=f"query_type={kind}")
    return found


def _gap(values: FloatArray, types: Sequence[str | None]) -> Metric:
    """Mean of the closed-ended prompts less that of the open-ended. Not 0 without branching: see the page in docs."""
    typed = np.array([kind in (OPEN_ENDED, CLOSED_ENDED) for kind in types])
    kept = typed & ~np.isnan(values)
    closed = np.array([kind == CLOSED_ENDED for kind in types])[kept].astype(np.float64)
    columns = np.stack([values[kept] * closed, closed, values[kept] * (1 - closed), 1 - closed], axis=1)

    def difference(sums: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw may have prompts of one type alone: NaN
            gap: FloatArray = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
        return gap

    return statistic_metric(GAP, columns, difference, n_total=int(typed.sum()))
