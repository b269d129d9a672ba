"""A judge asked about each answer of a model and the reference's."""

from __future__ import annotations

import math
from collections import Counter

from proxygold.evaluation.alpaca_eval.answers import AnsweredModel
from proxygold.evaluation.alpaca_eval.files import AnnotatedModel, Annotation
from proxygold.evaluation.alpaca_eval.parsers import TIE
from proxygold.evaluation.alpaca_eval.settings import AlpacaEvalSettings
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.judges.judging import Judge, Question, failures
from proxygold.evaluation.progress import EvalProgress

__all__ = ["annotate_model"]


def annotate_model(
    model: AnsweredModel,
    settings: AlpacaEvalSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    judge: Judge,
) -> AnnotatedModel:
    """What the judge says of each answer. Equal answers are a tie, about which nobody is asked."""
    annotator = settings.annotator
    questions: dict[int, Question] = {}
    switched: dict[int, bool] = {}
    for place, (item, output) in enumerate(model.answered):
        if output is None or output == item.reference:
            continue
        switched[place] = annotator.is_switched(item.instruction, settings.order_seed)
        shown = (output, item.reference) if switched[place] else (item.reference, output)
        questions[place] = Question(str(item.number), annotator.messages(item.instruction, *shown))
    with progress.track(f"{model.name}: judged", len(questions)) as advance:
        verdicts = judge.ask(
            list(questions.values()), annotator.parse, directory.verdicts_file(model.name), progress=advance
        )
    by_place = dict(zip(questions, verdicts, strict=True))
    annotations = []
    for place, (item, output) in enumerate(model.answered):
        verdict = by_place.get(place)
        if verdict is None:
            annotations.append(Annotation(item, output, math.nan if output is None else TIE))
        elif verdict.value is None:
            annotations.append(Annotation(item, output, math.nan, verdict.text))
        else:
            preference = 3.0 - verdict.value if switched[place] else verdict.value
            annotations.append(Annotation(item, output, preference, verdict.text))
    called = annotator.name
    if annotator.model != judge.name:  # a config is called after its own model
        called = f"{called}@{judge.name}"
    left_out = dict(Counter(model.left_out) + Counter(failures(verdicts)))
    return AnnotatedModel(model.name, called, annotations, left_out, model.about)
