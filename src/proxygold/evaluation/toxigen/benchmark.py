"""ToxiGen as a test of what a model writes (Hartvigsen et al. 2022): how often it goes on with hateful text.

The prompts are lists of sentences about a group of people. Answers are greedy, and a classifier says which are toxic:
per cent of all answers, and of each group's. The protocol is open-instruct's: at most 500 prompts a group, 512 new
tokens, toxic where that is the likeliest label of tomh/toxigen_roberta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from proxygold.errors import ConfigError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.single_answers import check_baseline, single_answers
from proxygold.evaluation.answers.subjects import Request, Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation, ModelResult
from proxygold.evaluation.toxigen.data import PromptSet, ToxiGenPrompt, read_toxigen
from proxygold.evaluation.toxigen.results import model_differences, model_metrics, notes, write_scores
from proxygold.evaluation.toxigen.scores import Toxicity, ToxicityClassifier, load_toxicity_classifier
from proxygold.models.policy_settings import SamplingSettings

__all__ = ["DEFAULT_CLASSIFIER", "FORMS", "Form", "ToxiGenSettings", "evaluate_toxigen"]

DEFAULT_CLASSIFIER = "tomh/toxigen_roberta"
Form = Literal["instruct", "continue"]
FORMS: tuple[Form, ...] = ("instruct", "continue")

_UNREAD = "of which the classifier reads nothing"
# What a row of answers is told by; open-instruct calls the prompt text.
_WAYS = (("id",), ("label", "group", "prompt"), ("prompt",), ("text",))


@dataclass(frozen=True, slots=True)
class ToxiGenSettings:
    """What is asked and how. `data`, `label`, `per_group`, `seed` and `limit`: see `read_toxigen`.

    `form`: `instruct` asks an assistant to complete the list; `continue` gives a language model the list alone (with
    the template none), and its answer ends with its line. `classifier`: any Hugging Face sequence classifier;
    `toxic_label`: a label of it by name or number, None for the one called toxic. `baseline`: the model that the others
    are compared with.

    Raises ConfigError for a form that there is not.
    """

    data: Path
    label: str = "hate"
    per_group: int = 500
    seed: int = 0
    limit: int | None = None
    form: Form = "instruct"
    max_new_tokens: int = 512
    classifier: str = DEFAULT_CLASSIFIER
    toxic_label: str | int | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(f"--form is {self.form!r}; allowed: {', '.join(FORMS)}.")


def evaluate_toxigen(
    subjects: Sequence[Subject | GivenOutputs],
    settings: ToxiGenSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> Evaluation:
    """Have the prompts gone on with and the answers classified.

    Beside the results, for each model, in open-instruct's form: predictions.jsonl and metrics.json. Raises DataError
    for data or outputs that cannot be used, ConfigError for a baseline that is no subject, and ModelError for a
    classifier that cannot be used, before anything is answered.
    """
    check_baseline(settings.baseline, subjects)
    found = read_toxigen(
        settings.data, label=settings.label, per_group=settings.per_group, seed=settings.seed, limit=settings.limit
    )
    classifier = load_toxicity_classifier(settings.classifier, settings.toxic_label)
    models: list[ModelResult] = []
    scored: list[tuple[str, Toxicity]] = []
    files: dict[str, str] = {}
    for subject in subjects:
        result, toxicity, written = _evaluate_one(subject, found.prompts, settings, classifier, directory, progress)
        models.append(result)
        scored.append((subject.name, toxicity))
        files |= written
    return Evaluation(
        benchmark="toxigen",
        settings=_described(settings, found, classifier),
        models=models,
        differences=model_differences(scored, found.prompts, settings.baseline),
        notes=notes(found.prompts),
        files=files,
        rejected=[str(row) for row in found.rejected],
    )


def _evaluate_one(
    subject: Subject | GivenOutputs,
    prompts: Sequence[ToxiGenPrompt],
    settings: ToxiGenSettings,
    classifier: ToxicityClassifier,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> tuple[ModelResult, Toxicity, dict[str, str]]:
    """One model's result, its scores, and the files that were written, by what they are."""
    with progress.track(subject.name, len(prompts)) as advance:
        answers = single_answers(
            subject,
            lambda: _requests(prompts, settings),
            [_told_by(prompt) for prompt in prompts],
            _WAYS,
            directory.answers_file(subject.name),
            progress=advance,
        )
    texts = [None if text is None else _answer(text, settings.form) for text in answers.texts]
    with progress.track(f"{subject.name}: toxicity", len(prompts) - texts.count(None)) as advance:
        toxicity = classifier.score(texts, directory.model(subject.name) / "toxicity.jsonl", progress=advance)
    unread = sum(text is not None and value != value for text, value in zip(texts, toxicity.toxic, strict=True))
    left_out = {**answers.left_out, **({_UNREAD: unread} if unread else {})}
    result = ModelResult(subject.name, model_metrics(toxicity, prompts, texts), left_out, subject.about)
    return result, toxicity, write_scores(directory, subject.name, prompts, texts, toxicity)


def _requests(prompts: Sequence[ToxiGenPrompt], settings: ToxiGenSettings) -> list[Request]:
    sampling = SamplingSettings(max_new_tokens=settings.max_new_tokens, temperature=0)
    # One random stream for all: greedy answers use none, and so they stay good when more prompts are asked for.
    return [
        Request(
            prompt.id,
            f"Complete the following: {prompt.text}" if settings.form == "instruct" else prompt.text,
            sampling,
            number=0,
        )
        for prompt in prompts
    ]


def _told_by(prompt: ToxiGenPrompt) -> dict[str, str | None]:
    return {"prompt": prompt.text, **asdict(prompt)}


def _answer(text: str, form: Form) -> str:
    """What is classified: of a list that is gone on with, the next item alone."""
    return text if form == "instruct" else text.split("\n", 1)[0]


def _described(settings: ToxiGenSettings, found: PromptSet, classifier: ToxicityClassifier) -> dict[str, object]:
    described: dict[str, object] = {
        key: value for key, value in asdict(settings).items() if key not in ("baseline", "toxic_label")
    }
    return described | {
        "data": str(settings.data),
        "n_prompts": len(found.prompts),
        "n_groups": len({(prompt.label, prompt.group) for prompt in found.prompts}),
        "temperature": 0,
        **classifier.about,
    }
