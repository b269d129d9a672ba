"""RewardBench: how often a reward scores the better of two answers higher, beside what no reward at all would get.

A pair is right when the chosen answer's score is higher, strictly; a tie is wrong. Source: Lambert et al. 2024. Three
numbers sum it up, and they differ: the official sections, their mean, and the accuracy pooled over all pairs, which is
the paper's overall (Kim and Seo 2024, table 5).

Beside each accuracy stand those of preferring the longer answer, the shorter one, and tossing a coin, on the same
pairs; and the reward's own where the two answers are nearly equally long, where counting words does not help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.errors import ConfigError
from proxygold.evaluation.answers.prompts import prompt_key
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation, ModelResult
from proxygold.evaluation.reward_bench.accuracies import measure_rewards
from proxygold.evaluation.reward_bench.files import write_original_files
from proxygold.evaluation.reward_bench.pair_scores import PairScores, RewardJudge
from proxygold.evaluation.reward_bench.preference_pairs import PairSet, TestPair, read_pairs
from proxygold.evaluation.reward_bench.recorded_scores import RecordedScores
from proxygold.evaluation.reward_bench.sections import PAIRS, SECTIONS, section_of
from proxygold.records import FloatArray
from proxygold.text import words
from proxygold.training.pair_accuracy import MATCHED_RATIO

__all__ = ["BENCHMARK", "PUBLISHED_PAIRS", "RewardBenchSettings", "evaluate_reward_bench"]

BENCHMARK = "reward-bench"
PUBLISHED_PAIRS = "hub:allenai/reward-bench:filtered"
"""Where the 2,985 pairs are published."""


@dataclass(frozen=True, slots=True)
class RewardBenchSettings:
    """Which pairs, and who is compared with whom.

    - `data`: files of pairs, directories, patterns, or data sets of the hub.
    - `references`: a file with reference answers or query types for them.
    - `query_types`: `local` has the classifier that ships give the types that are missing.
    - `limit`: the first so many pairs.
    - `baseline`: the reward that the others are compared with; None for each with each.
    - `force`: score anew where there are scores of another reward.
    """

    data: tuple[str, ...] = (PUBLISHED_PAIRS,)
    references: Path | None = None
    query_types: str | None = None
    limit: int | None = None
    baseline: str | None = None
    force: bool = False


def evaluate_reward_bench(
    rewards: Sequence[RewardJudge | RecordedScores],
    settings: RewardBenchSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> Evaluation:
    """Test each of `rewards` on the same pairs. Their scores are written down as they come, and gone on with.

    Raises DataError when there are no pairs, ConfigError for a baseline that is none of the rewards, and what scoring
    raises.
    """
    names = [reward.name for reward in rewards]
    if settings.baseline is not None and settings.baseline not in names:
        raise ConfigError(
            f"--baseline is {settings.baseline!r}, which is not tested here. Give one of {', '.join(names)}."
        )
    found = read_pairs(settings.data, settings.references, settings.limit, settings.query_types)
    pairs = found.pairs
    files: dict[str, str] = {}
    right: dict[str, FloatArray] = {}
    notes = list(_notes_on_pairs(found))
    left_out: dict[str, dict[str, int]] = {}
    for reward in rewards:
        place = directory.model(reward.directory_name)
        with progress.track(reward.name, len(pairs)) as advance:
            scores = reward.score(pairs, place / "scores.jsonl", force=settings.force, progress=advance)
        scores = _with_refused_references(scores, pairs)
        right[reward.name] = verdicts = _verdicts(scores)
        left_out[reward.name] = dict(Counter(reason for reason in scores.reasons if reason is not None))
        notes += _notes_on_scores(reward.name, scores, verdicts)
        _write_unscored(directory, reward.directory_name, pairs, scores)
        files |= write_original_files(place, reward.name, reward.about, pairs, scores, verdicts)
    lengths = np.array([[len(words(pair.chosen)), len(words(pair.rejected))] for pair in pairs], dtype=np.float64)
    metrics, differences = measure_rewards(
        right, [pair.subset for pair in pairs], [prompt_key(pair.prompt) for pair in pairs], lengths, settings.baseline
    )
    results = [ModelResult(each.name, metrics[each.name], left_out[each.name], each.about) for each in rewards]
    rejected = [str(row) for row in found.rejected]
    return Evaluation(BENCHMARK, _settings(settings, pairs), results, differences, notes, files, rejected)


def _verdicts(scores: PairScores) -> FloatArray:
    """(n,) 1 where the chosen answer's score is higher, 0 where it is not, NaN where one of the two is missing."""
    right = (scores.chosen > scores.rejected).astype(np.float64)
    return np.where(np.isnan(scores.chosen) | np.isnan(scores.rejected), np.nan, right)


def _with_refused_references(scores: PairScores, pairs: Sequence[TestPair]) -> PairScores:
    """With the true reason where a pair could not be scored because its reference was refused."""
    reasons = tuple(
        pair.reference_refused if reason and pair.reference_refused and "has no reference" in reason else reason
        for reason, pair in zip(scores.reasons, pairs, strict=True)
    )
    return PairScores(scores.chosen, scores.rejected, reasons)


def _settings(settings: RewardBenchSettings, pairs: Sequence[TestPair]) -> dict[str, Any]:
    return {
        "data": list(settings.data),
        "references": None if settings.references is None else str(settings.references),
        "query_types": settings.query_types or "as given",
        "limit": settings.limit,
        "pairs": len(pairs),
        "prompts": len({prompt_key(pair.prompt) for pair in pairs}),
        "pairs_with_reference": sum(pair.reference is not None for pair in pairs),
        "pairs_with_query_type": sum(pair.query_type is not None for pair in pairs),
        "ties": "wrong",
        "lengths": "words and punctuation, as LI counts them",
        "length_matched": f"the longer answer at most {MATCHED_RATIO} times as long",
        "section_weights": {name: dict(weights) for name, weights in SECTIONS.items()},
    }


def _notes_on_pairs(found: PairSet) -> Iterator[str]:
    sizes = Counter(pair.subset for pair in found.pairs)
    official = sum(count for subset, count in sizes.items() if section_of(subset))
    if official and any(sizes[subset] != count for subset, count in PAIRS.items()):
        yield (
            f"{official:,} pairs are in RewardBench's subsets, which have {sum(PAIRS.values()):,}: sections and their "
            "mean are of what is here, and no official numbers."
        )
    if official and official < len(found.pairs):
        yield f"{len(found.pairs) - official:,} pairs are in no section: they count in the pooled accuracy alone."
    if refused := sum(pair.reference_refused is not None for pair in found.pairs):
        yield f"{refused:,} references were the chosen answer itself, and were not used."


def _notes_on_scores(name: str, scores: PairScores, right: FloatArray) -> Iterator[str]:
    scored = int((~np.isnan(right)).sum())
    ties = int((scores.chosen == scores.rejected).sum())
    if ties:
        half = 100 * (float(np.nansum(right)) + ties / 2) / scored
        yield (
            f"{name} gives both answers the same score in {ties:,} of {scored:,} pairs. A tie is wrong, as in the "
            f"original tool; were it half right, the pooled accuracy would be {half:.1f}."
        )


def _write_unscored(directory: EvaluationDirectory, name: str, pairs: Sequence[TestPair], scores: PairScores) -> None:
    unscored = [
        {"id": pair.id, "place": pair.place, "reason": reason}
        for pair, reason in zip(pairs, scores.reasons, strict=True)
        if reason is not None
    ]
    directory.write_left_out(name, unscored)
