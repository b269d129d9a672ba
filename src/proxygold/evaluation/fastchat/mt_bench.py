"""MT-Bench (Zheng et al. 2023): 80 questions of two turns in eight categories, each answer graded by a judge.

Its questions, reference answers and judge prompts are FastChat's files, which stay as they are (`bench.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.fastchat.bench import ChatBenchSettings, evaluate_chat
from proxygold.evaluation.judges.judging import Judge
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation

__all__ = ["MT_BENCH", "evaluate_mt_bench"]

MT_BENCH = "mt-bench"


def evaluate_mt_bench(
    subjects: Sequence[Subject | GivenOutputs],
    settings: ChatBenchSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: Judge | None,
) -> Evaluation:
    """The mean grade over both turns (`score`), by turn, by category and both. See `evaluate_chat`."""
    return evaluate_chat(MT_BENCH, subjects, settings, directory, progress, judge)
