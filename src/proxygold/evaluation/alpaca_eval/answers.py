"""The answers of models to AlpacaEval's instructions, drawn or read from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxygold.evaluation.alpaca_eval.files import write_model_outputs
from proxygold.evaluation.alpaca_eval.instructions import Comparison, ReferenceSet
from proxygold.evaluation.alpaca_eval.settings import AlpacaEvalSettings
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.responses.found import draw_responses, find_responses
from proxygold.records import PromptRecord
from proxygold.templates import TEMPLATES

__all__ = ["AnsweredModel", "answer_references", "outputs_file"]


@dataclass(frozen=True, slots=True)
class AnsweredModel:
    """A model's answer to each comparison, None where there is none; `left_out` counts those by the reason."""

    name: str
    answered: Sequence[tuple[Comparison, str | None]]
    left_out: Mapping[str, int]
    about: Mapping[str, Any]


def answer_references(
    subjects: Sequence[Subject | GivenOutputs],
    settings: AlpacaEvalSettings,
    references: ReferenceSet,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> list[AnsweredModel]:
    """The answers of each subject, written to its model_outputs.json."""
    models = []
    for subject in subjects:
        outputs, left_out, about = _answers(subject, settings, references.items, directory, progress)
        model = AnsweredModel(subject.name, list(zip(references.items, outputs, strict=True)), left_out, about)
        write_model_outputs(outputs_file(directory, model.name), model.name, model.answered)
        models.append(model)
    return models


def outputs_file(directory: EvaluationDirectory, name: str) -> Path:
    return directory.model(name) / "model_outputs.json"


def _answers(
    subject: Subject | GivenOutputs,
    settings: AlpacaEvalSettings,
    items: Sequence[Comparison],
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> tuple[list[str | None], dict[str, int], dict[str, Any]]:
    """An answer to each instruction or None, why there is none, and what answered.

    A file's answers stay as they are. A model's are cut where it goes on with the user's next turn, and stripped, as
    AlpacaEval strips what it generates.
    """
    records = [PromptRecord(str(item.number), item.instruction) for item in items]
    if isinstance(subject, GivenOutputs):
        found = find_responses(subject, records, ())
        about = dict(subject.about) | {"rows_of_other_instructions": len(found.strange), "surplus": found.surplus}
        return [None if answer is None else answer.text for answer in found.answers], found.left_out(), about
    template = TEMPLATES.get(str(subject.about.get("template")))
    found = draw_responses(
        subject,
        records,
        settings.sampling,
        directory.answers_file(subject.name),
        () if template is None else template.role_markers,
        seed=settings.seed,
        progress=progress,
    )
    cut = sum(answer is not None and answer.finished is False for answer in found.answers)
    about = dict(subject.about) | {"answers_cut_at_max_new_tokens": cut}
    return [None if answer is None else answer.text.strip() for answer in found.answers], found.left_out(), about
