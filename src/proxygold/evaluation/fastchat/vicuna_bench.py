"""Vicuna-Bench (Chiang et al. 2023): 80 questions of one turn, two models' answers compared by a judge in both orders.

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

__all__ = ["VICUNA_BENCH", "evaluate_vicuna_bench"]

VICUNA_BENCH = "vicuna-bench"


def evaluate_vicuna_bench(
    subjects: Sequence[Subject | GivenOutputs],
    settings: ChatBenchSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: Judge | None,
) -> Evaluation:
    """The adjusted win rate against a baseline, in percent, and by category. See `evaluate_chat`."""
    return evaluate_chat(VICUNA_BENCH, subjects, settings, directory, progress, judge)
