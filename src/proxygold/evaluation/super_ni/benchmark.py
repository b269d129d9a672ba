"""Super-NaturalInstructions (Wang et al. 2022): whether a model still does what an instruction says.

Answers are greedy, at most 128 new tokens, and compared with references by ROUGE-L (F1, Porter stems) and exact match,
both times 100. Two protocols, which differ in the prompt and in what ROUGE-L is of:

- `paper` (Kim and Seo 2024): definition, blank line, input; the first reference alone, as its code has it.
- `official`: the original tool's prompt; the reference that fits best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from proxygold.errors import ConfigError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.single_answers import check_baseline, single_answers
from proxygold.evaluation.answers.subjects import Request, Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation, ModelResult
from proxygold.evaluation.super_ni.data import Instance, InstanceSet, read_instances
from proxygold.evaluation.super_ni.files import write_references, write_scores
from proxygold.evaluation.super_ni.prompts import PROTOCOLS, Protocol, instance_prompt
from proxygold.evaluation.super_ni.results import model_differences, model_metrics, notes
from proxygold.evaluation.super_ni.scores import InstanceScores, score_instances
from proxygold.models.policy_settings import SamplingSettings

__all__ = ["SuperNISettings", "evaluate_super_ni"]

# What a row of answers is told by.
_WAYS = (("id",), ("task", "input"), ("instruction", "input"), ("prompt",))


@dataclass(frozen=True, slots=True)
class SuperNISettings:
    """What is asked and how. `examples`: positive examples in an official prompt. `data`, `tasks`, `per_task` and
    `limit`: see `read_instances`. `baseline`: the model that the others are compared with.

    Raises ConfigError for a protocol that there is not, and for examples in the paper's prompt, which has none.
    """

    data: Path
    tasks: Path | None = None
    protocol: Protocol = "paper"
    examples: int = 0
    per_task: int = 100
    limit: int | None = None
    max_new_tokens: int = 128
    baseline: str | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError(f"--protocol is {self.protocol!r}; allowed: {', '.join(PROTOCOLS)}.")
        if self.examples and self.protocol != "official":
            raise ConfigError(
                f"--examples is {self.examples}, and the paper's prompt has none. Add --protocol official, or leave "
                "--examples out."
            )


def evaluate_super_ni(
    subjects: Sequence[Subject | GivenOutputs],
    settings: SuperNISettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> Evaluation:
    """Have the instances answered and score the answers.

    Beside the results, in the original tool's form: references.jsonl, and predictions.jsonl for each model. Raises
    DataError for data or outputs that cannot be used, ConfigError for a baseline that is no subject, and RewardError
    when rouge-score is not installed.
    """
    check_baseline(settings.baseline, subjects)
    found = read_instances(settings.data, tasks=settings.tasks, per_task=settings.per_task, limit=settings.limit)
    instances = found.instances
    files = {"references": write_references(directory, instances)}
    models: list[ModelResult] = []
    scored: list[tuple[str, InstanceScores]] = []
    for subject in subjects:
        with progress.track(subject.name, len(instances)) as advance:
            answers = single_answers(
                subject,
                lambda: _requests(instances, settings),
                [_told_by(instance, settings) for instance in instances],
                _WAYS,
                directory.answers_file(subject.name),
                progress=advance,
            )
        scores = score_instances(instances, answers.texts)
        files |= write_scores(directory, subject.name, instances, answers.texts, scores)
        metrics = model_metrics(scores, instances, settings.protocol)
        models.append(ModelResult(subject.name, metrics, answers.left_out, subject.about))
        scored.append((subject.name, scores))
    return Evaluation(
        benchmark="super-ni",
        settings=_described(settings, found),
        models=models,
        differences=model_differences(scored, instances, settings.protocol, settings.baseline),
        notes=notes(found, models, settings.protocol),
        files=files,
        rejected=[str(row) for row in found.rejected],
    )


def _requests(instances: Sequence[Instance], settings: SuperNISettings) -> list[Request]:
    sampling = SamplingSettings(max_new_tokens=settings.max_new_tokens, temperature=0)
    # One random stream for all: greedy answers use none, and so they stay good when more instances are asked for.
    return [
        Request(instance.id, instance_prompt(instance, settings.protocol, settings.examples), sampling, number=0)
        for instance in instances
    ]


def _told_by(instance: Instance, settings: SuperNISettings) -> dict[str, str | None]:
    known = instance.definition is not None and instance.input is not None
    return {
        "id": instance.id,
        "task": instance.task,
        "instruction": instance.definition,
        "input": instance.input,
        "prompt": instance_prompt(instance, settings.protocol, settings.examples) if known else None,
    }


def _described(settings: SuperNISettings, found: InstanceSet) -> dict[str, object]:
    described: dict[str, object] = {key: value for key, value in asdict(settings).items() if key != "baseline"}
    return described | {
        "data": str(settings.data),
        "tasks": str(settings.tasks) if settings.tasks else None,
        "n_tasks": len(found.tasks),
        "n_instances": len(found.instances),
        "temperature": 0,
        "rouge": "rouge-score, rougeL F1, Porter stems, times 100",
        "references": "first" if settings.protocol == "paper" else "best of all",
    }
