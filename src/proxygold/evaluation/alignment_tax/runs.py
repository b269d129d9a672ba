"""The parts of the alignment tax: each benchmark run on the same models, or read from where it was run before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.alignment_tax.benchmark import trade_off
from proxygold.evaluation.alignment_tax.page import write_trade_off
from proxygold.evaluation.alignment_tax.recorded_results import read_evaluation
from proxygold.evaluation.alpaca_eval.benchmark import BENCHMARK as ALPACA_EVAL
from proxygold.evaluation.alpaca_eval.benchmark import AlpacaEvalSettings, evaluate_alpaca_eval
from proxygold.evaluation.answers.outputs import GivenOutputs, read_outputs
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.judges.judging import Judge
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.responses.benchmark import BENCHMARK as RESPONSES
from proxygold.evaluation.responses.benchmark import ResponsesSettings, evaluate_responses
from proxygold.evaluation.results import Evaluation
from proxygold.evaluation.self_bleu.sampled_answers import asked_prompts
from proxygold.evaluation.super_ni.benchmark import SuperNISettings, evaluate_super_ni

__all__ = ["AlignmentTaxSettings", "evaluate_alignment_tax"]

_SUPER_NI = "super-ni"


@dataclass(frozen=True, slots=True)
class AlignmentTaxSettings:
    """How each part is run, or, as a path, where its results are.

    - `relevance`: how the answers to AlpacaEval are measured beside; None leaves it out.
    - `baseline`: the model that the others are compared with; None is the first.
    """

    alpaca_eval: AlpacaEvalSettings | Path
    super_ni: SuperNISettings | Path
    relevance: ResponsesSettings | Path | None = None
    baseline: str | None = None


def evaluate_alignment_tax(
    subjects: Sequence[Subject | GivenOutputs],
    settings: AlignmentTaxSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: AbstractContextManager[Judge] | None = None,
) -> Evaluation:
    """Run what is to be run, each part in a directory of its own below, and put the results together.

    `judge`: AlpacaEval's, opened while it is asked.

    Raises ConfigError when something is to be run and there are no subjects, or no judge for AlpacaEval; and what the
    parts raise.
    """
    _check(subjects, settings)
    if not isinstance(settings.alpaca_eval, Path):
        _needed(judge)  # now, not after the tasks
    baseline = settings.baseline or (subjects[0].name if subjects else None)
    # Tasks first: they cost no judge.
    if isinstance(settings.super_ni, Path):
        tasks = read_evaluation(settings.super_ni, _SUPER_NI)
    else:
        set_tasks = replace(settings.super_ni, baseline=baseline)
        tasks = _run(_SUPER_NI, directory, lambda place: evaluate_super_ni(subjects, set_tasks, place, progress))
    if isinstance(settings.alpaca_eval, Path):
        preferred = read_evaluation(settings.alpaca_eval, ALPACA_EVAL)
    else:
        preferred = _preferred(
            subjects, replace(settings.alpaca_eval, baseline=baseline), directory, progress, _needed(judge)
        )
    relevant: Evaluation | None = None
    if isinstance(settings.relevance, Path):
        relevant = read_evaluation(settings.relevance, RESPONSES)
    elif settings.relevance is not None:
        measured = replace(settings.relevance, baseline=baseline)
        given = _answers(settings.alpaca_eval, directory, preferred)
        prompts = asked_prompts(given, None, limit=None, query_types=None)
        relevant = _run(
            RESPONSES, directory, lambda place: evaluate_responses(given, prompts, measured, place, progress)
        )
    evaluation, found = trade_off(preferred, tasks, relevant, baseline)
    return replace(evaluation, files=write_trade_off(directory.path, found))


def _check(subjects: Sequence[Subject | GivenOutputs], settings: AlignmentTaxSettings) -> None:
    runs = [part for part in (settings.alpaca_eval, settings.super_ni) if not isinstance(part, Path)]
    if runs and len(subjects) < 2:
        raise ConfigError(
            f"{len(subjects)} models to run the benchmarks on, and a trade-off needs two: the baseline and one more. "
            "Give --model more than once, the baseline first, or the results of both benchmarks: "
            "--alpaca-eval-results DIR --super-ni-results DIR."
        )
    names = [subject.name for subject in subjects]
    if runs and settings.baseline is not None and settings.baseline not in names:
        raise ConfigError(
            f"--baseline is {settings.baseline!r}, which is not evaluated here. Give one of {', '.join(names)}."
        )


def _needed(judge: AbstractContextManager[Judge] | None) -> AbstractContextManager[Judge]:
    if judge is None:
        raise ConfigError(
            "there is no judge for alpaca-eval. Give --judge MODEL, or results that exist: --alpaca-eval-results DIR."
        )
    return judge


def _preferred(
    subjects: Sequence[Subject | GivenOutputs],
    settings: AlpacaEvalSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: AbstractContextManager[Judge],
) -> Evaluation:
    def evaluate(place: EvaluationDirectory) -> Evaluation:
        with judge as asked:  # in here, so that a dry run ends before results are written
            return evaluate_alpaca_eval(subjects, settings, place, progress, asked)

    return _run(ALPACA_EVAL, directory, evaluate)


def _run(
    benchmark: str, directory: EvaluationDirectory, evaluate: Callable[[EvaluationDirectory], Evaluation]
) -> Evaluation:
    """In a directory below, whose results another trade-off can take."""
    place = EvaluationDirectory(directory.path / benchmark)
    with place.lock():
        evaluation = evaluate(place)
        place.write(evaluation)
    return evaluation


def _answers(
    where: AlpacaEvalSettings | Path, directory: EvaluationDirectory, preferred: Evaluation
) -> list[GivenOutputs]:
    """What the models answered to AlpacaEval, from its model_outputs.json. Raises DataError when that is not there."""
    path = directory.path / ALPACA_EVAL
    if isinstance(where, Path):
        path = where if where.is_dir() else where.parent
    place = EvaluationDirectory(path)
    given = []
    for result in preferred.models:
        file = place.model(result.model) / "model_outputs.json"
        if not file.is_file():
            raise DataError(
                f"there is no {file} to measure the relevance of. Give --relevance none, or results of proxygold eval "
                "responses: --responses-results DIR."
            )
        given.append(read_outputs(file, result.model))
    return given
