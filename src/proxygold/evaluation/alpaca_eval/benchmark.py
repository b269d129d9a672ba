"""AlpacaEval (Li et al. 2023): how often a judge prefers a model's answer to that of a reference model.

    evaluate_alpaca_eval(subjects, AlpacaEvalSettings(), directory, progress, judge)

The 805 instructions are answered at temperature 0.7 with at most 512 tokens, and each answer is put before a judge
together with text-davinci-003's (or any other), once, in an order that depends on the instruction. In DIR/MODEL are
`model_outputs.json` and `annotations.json`, in DIR `leaderboard.csv`: AlpacaEval reads them, and its own are read here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from proxygold.errors import ConfigError
from proxygold.evaluation.alpaca_eval.annotator import Annotator
from proxygold.evaluation.alpaca_eval.answers import AnsweredModel, answer_references, outputs_file
from proxygold.evaluation.alpaca_eval.files import (
    AnnotatedModel,
    Annotation,
    read_annotations,
    write_annotations,
    write_leaderboard,
)
from proxygold.evaluation.alpaca_eval.instructions import ALPACA_EVAL, ReferenceSet, read_reference_set
from proxygold.evaluation.alpaca_eval.judging import annotate_model
from proxygold.evaluation.alpaca_eval.results import LENGTH, summarise_annotations
from proxygold.evaluation.alpaca_eval.settings import AlpacaEvalSettings
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.judges.judging import DryJudge, Judge
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation, ModelResult
from proxygold.evaluation.statistics import mean_metric

__all__ = [
    "BENCHMARK",
    "AlpacaEvalSettings",
    "evaluate_alpaca_eval",
    "evaluate_annotations",
]

BENCHMARK = "alpaca-eval"


def evaluate_alpaca_eval(
    subjects: Sequence[Subject | GivenOutputs],
    settings: AlpacaEvalSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: Judge | None,
) -> Evaluation:
    """Have every subject answer, and the judge compare; write AlpacaEval's files; and summarise.

    Without a judge the answers are written, to be judged later, or where a judge can be reached. With one that only
    counts (`DryJudge`) nothing is written but answers. Raises DataError for reference outputs that cannot be read, and
    what answering and judging raise.
    """
    references = read_reference_set(settings.reference_outputs or ALPACA_EVAL, settings.limit, settings.query_types)
    answered = answer_references(subjects, settings, references, directory, progress)
    if judge is None:
        return _unjudged(answered, settings, references, directory)
    models = [annotate_model(model, settings, directory, progress, judge) for model in answered]
    if isinstance(judge, DryJudge):
        return Evaluation(BENCHMARK, _about(settings, references), [])
    files = {}
    for model in models:
        path = directory.model(model.name) / "annotations.json"
        write_annotations(path, model)
        files[f"{model.name}: annotations"] = str(path)
    about = _about(settings, references) | {
        "annotator": _annotator(settings.annotator),
        "judge": dict(judge.about),
        "order_seed": settings.order_seed,
    }
    notes = [note for model in answered for note in _answer_notes(model, settings)]
    return _evaluation(models, settings, about, directory, files, list(map(str, references.rejected)), notes)


def evaluate_annotations(
    files: Sequence[str], settings: AlpacaEvalSettings, directory: EvaluationDirectory
) -> Evaluation:
    """What recorded annotations.json say, of AlpacaEval's or ours, each of one model or several; nobody is asked.

    Each is `[NAME=]FILE`, with a name for its model in place of its own. With `settings.reference_outputs` the
    instructions get its query types and places. Raises DataError for a file that cannot be read, and ConfigError when
    two models have one name.
    """
    models: list[AnnotatedModel] = []
    listed: list[str] = []
    for given in files:
        name, path = _named(given)
        found, rejected = read_annotations(path)
        if name is not None and len(found) > 1:
            raise ConfigError(f"{given!r} names one model, and the file has {len(found)}. Leave out {name}=.")
        models += found if name is None else [replace(found[0], name=name)]
        listed += map(str, rejected)
    if twice := [name for name, count in Counter(model.name for model in models).items() if count > 1]:
        raise ConfigError(f"{twice[0]!r} is the name of more than one model. Give each its own: NAME=FILE.")
    about: dict[str, Any] = {"annotations": list(files), "annotator": sorted({model.annotator for model in models})}
    if settings.reference_outputs is not None:
        references = read_reference_set(settings.reference_outputs, query_types=settings.query_types)
        models = [_placed(model, references) for model in models]
        about["reference_outputs"] = references.source
        listed += map(str, references.rejected)
    return _evaluation(models, settings, about, directory, {}, listed)


def _named(given: str) -> tuple[str | None, Path]:
    name, equals, file = given.partition("=")
    path = Path(given).expanduser()
    return (name.strip(), Path(file).expanduser()) if equals and not path.exists() else (None, path)


def _unjudged(
    models: Sequence[AnsweredModel],
    settings: AlpacaEvalSettings,
    references: ReferenceSet,
    directory: EvaluationDirectory,
) -> Evaluation:
    results, files = [], {}
    for model in models:
        lengths = np.array([np.nan if output is None else len(output) for _, output in model.answered])
        results.append(ModelResult(model.name, [mean_metric(LENGTH, lengths)], model.left_out, model.about))
        files[f"{model.name}: answers"] = str(outputs_file(directory, model.name))
    notes = [note for model in models for note in _answer_notes(model, settings)]
    notes.append(
        "Nothing was judged. To go on, here or elsewhere, give each file of answers with --outputs, and --judge."
    )
    about = _about(settings, references)
    return Evaluation(BENCHMARK, about, results, (), notes, files, list(map(str, references.rejected)))


def _answer_notes(model: AnsweredModel, settings: AlpacaEvalSettings) -> list[str]:
    """What is strange about the answers of a file."""
    others, surplus = model.about.get("rows_of_other_instructions"), model.about.get("surplus")
    notes = []
    if others and settings.limit is None:  # with a limit most are
        notes.append(f"{model.name}: {others:,} rows answer none of the instructions.")
    if surplus:
        notes.append(f"{model.name}: {surplus:,} further answers to instructions that have one were not used.")
    return notes


def _about(settings: AlpacaEvalSettings, references: ReferenceSet) -> dict[str, Any]:
    return {
        "reference_outputs": references.source,
        "reference": references.generator,
        "sampling": settings.sampling.model_dump(),
        "seed": settings.seed,
        "limit": settings.limit,
        "query_types": settings.query_types or "as given",
    }


def _evaluation(
    models: Sequence[AnnotatedModel],
    settings: AlpacaEvalSettings,
    about: Mapping[str, Any],
    directory: EvaluationDirectory,
    files: Mapping[str, str],
    rejected: Sequence[str],
    notes: Sequence[str] = (),
) -> Evaluation:
    found = summarise_annotations(models, settings.difficulties, settings.baseline)
    leaderboard = directory.path / "leaderboard.csv"
    write_leaderboard(leaderboard, found.leaderboard)
    difficulties = settings.difficulties
    control = "tanh of the length difference in standard deviations" + ("" if difficulties is None else ", difficulty")
    return Evaluation(
        BENCHMARK,
        dict(about)
        | {
            "length_control": control,
            "difficulties": None if difficulties is None else difficulties.source,
            "unit": "percent; average_length in characters",
        },
        found.models,
        found.differences,
        [*notes, *found.notes],
        dict(files) | {"leaderboard": str(leaderboard)},
        rejected,
    )


def _placed(model: AnnotatedModel, references: ReferenceSet) -> AnnotatedModel:
    """With the places and query types that a reference set has for its instructions."""
    known = {item.instruction: item for item in references.items}

    def placed(annotation: Annotation) -> Annotation:
        item = known.get(annotation.comparison.instruction)
        # A place that no difficulty is for.
        number, query_type = (-1, None) if item is None else (item.number, item.query_type)
        comparison = replace(annotation.comparison, number=number, query_type=query_type)
        return replace(annotation, comparison=comparison)

    return replace(model, annotations=[placed(annotation) for annotation in model.annotations])


def _annotator(annotator: Annotator) -> dict[str, Any]:
    return {
        "name": annotator.name,
        "model": annotator.model,
        "parameters": dict(annotator.parameters),
        "random_order": annotator.random_order,
        "source": annotator.source,
        "prompt_hash": annotator.prompt_hash,
    }
