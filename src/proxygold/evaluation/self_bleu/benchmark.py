"""Self-BLEU (Zhu et al. 2018, Texygen): how alike a model's answers to the same prompt are, 0 to 1.

For each prompt several answers are sampled, and each is compared by BLEU with all the others; the mean over the answers
is the prompt's Self-BLEU. High is consistent, low is diverse. The paper reads it by query type (Figure 5): a good
policy is consistent where the query is closed-ended and diverse where it is open-ended.

The paper states neither the order of the n-grams, nor what a word is, nor the nucleus. Here: 4-grams, wordpunct, 0.9,
at temperature 1, and all of it in the result. Texygen has two functions for it; this is the one that leaves an
answer out of its own references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxygold import __version__
from proxygold.errors import ConfigError
from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.prompts import EvaluationPrompts
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Evaluation, ModelResult
from proxygold.evaluation.self_bleu.figure import write_self_bleu_figure
from proxygold.evaluation.self_bleu.leave_one_out import EPSILON
from proxygold.evaluation.self_bleu.metrics import (
    SELF_BLEU,
    PromptScores,
    score_answers,
    self_bleu_differences,
    self_bleu_metrics,
)
from proxygold.evaluation.self_bleu.sampled_answers import SampledAnswers, draw_answers, find_answers
from proxygold.json_lines import to_json
from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import FloatArray, PromptRecord
from proxygold.store import write_whole
from proxygold.text import WORD_KINDS, trim_at_stop

__all__ = ["SelfBleuSettings", "evaluate_self_bleu"]

BENCHMARK = "self-bleu"
FIGURE = "self_bleu.html"


@dataclass(frozen=True, slots=True)
class SelfBleuSettings:
    """How answers are sampled and compared.

    `words`: a name of `proxygold.text.WORD_KINDS`. `stop_strings`: an answer ends before the first of them; those of a
    template where the model goes on with the user's next turn. `baseline`: the model that the others are compared with;
    None: each with each. What given outputs were sampled with is theirs. Raises ConfigError for what makes no sense.
    """

    samples: int = 10
    order: int = 4
    words: str = "wordpunct"
    stop_strings: tuple[str, ...] = ()
    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 0.9
    seed: int = 0
    baseline: str | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError("at --temperature 0 all answers to a prompt are the same. Give one above 0.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"--top-p is {self.top_p}; the nucleus has a mass above 0, at most 1.")
        if self.samples < 2:
            raise ConfigError(f"Self-BLEU of {self.samples} sample compares nothing. Give --samples 2 or more.")
        if self.order < 1:
            raise ConfigError(f"--order is {self.order}; n-grams have 1 word or more.")
        if self.words not in WORD_KINDS:
            raise ConfigError(f"--words is {self.words!r}; allowed: {', '.join(WORD_KINDS)}.")

    @property
    def sampling(self) -> SamplingSettings:
        return SamplingSettings(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)

    def signature(self) -> str:
        """All that decides the number but the answers, in one line to be cited.

        >>> SelfBleuSettings().signature().partition("|version")[0]
        'self-bleu|form:leave-one-out|samples:10|order:4|weights:uniform|smooth:method1[0.1]|words:wordpunct|case:kept'
        """
        return "|".join(
            (
                *(BENCHMARK, "form:leave-one-out", f"samples:{self.samples}", f"order:{self.order}"),
                *("weights:uniform", f"smooth:method1[{EPSILON}]", f"words:{self.words}", "case:kept"),
                f"version:{__version__}",
            )
        )


def evaluate_self_bleu(
    subjects: Sequence[Subject | GivenOutputs],
    settings: SelfBleuSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    prompts: EvaluationPrompts,
) -> Evaluation:
    """Self-BLEU of every subject on `prompts`.

    Beside results.json: `MODEL/self_bleu.jsonl` with each prompt, and the figure. Raises DataError when there is
    nothing to measure, ConfigError for a baseline that is none of the subjects, and what a subject raises.
    """
    names = [subject.name for subject in subjects]
    if settings.baseline is not None and settings.baseline not in names:
        raise ConfigError(f"--baseline {settings.baseline!r} is none of those evaluated: {', '.join(names)}.")
    records = prompts.records
    types = [record.query_type for record in records]
    results: list[ModelResult] = []
    by_model: list[tuple[str, FloatArray]] = []
    notes, rejected = _about_types(types), list(prompts.rejected)
    for subject in subjects:
        answers = _answers(subject, records, settings, directory, progress)
        texts = [[trim_at_stop(text, settings.stop_strings) for text in drawn] for drawn in answers.texts]
        scores = score_answers(texts, order=settings.order, words=settings.words)
        _write_prompts(directory, subject.name, records, answers, scores)
        by_model.append((subject.name, scores.values))
        notes += [f"{subject.name}: {told}" for told in _about_answers(answers, scores)]
        # With a limit, rows that answer the prompts after it are no trouble.
        rejected += answers.strange if prompts.about.get("limit") is None else ()
        results.append(
            ModelResult(subject.name, self_bleu_metrics(scores, types), answers.left_out(), _about(subject, settings))
        )
    evaluation = Evaluation(
        BENCHMARK,
        {"signature": settings.signature(), "stop_strings": list(settings.stop_strings), **prompts.about},
        results,
        self_bleu_differences(by_model, types, settings.baseline),
        notes,
        rejected=[str(row) for row in rejected],
    )
    figure = directory.path / FIGURE
    try:
        write_self_bleu_figure(figure, evaluation, by_model, types)
    except ConfigError as error:  # what draws it is not installed, which is no reason to lose the numbers
        return replace(evaluation, notes=[*notes, f"there is no figure: {error}"])
    return replace(evaluation, files={"figure": str(figure)})


def _answers(
    subject: Subject | GivenOutputs,
    records: Sequence[PromptRecord],
    settings: SelfBleuSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> SampledAnswers:
    if isinstance(subject, GivenOutputs):
        return find_answers(subject, records, settings.samples)
    file = directory.answers_file(subject.name)
    return draw_answers(
        subject, records, settings.sampling, settings.samples, file, seed=settings.seed, progress=progress
    )


def _about(subject: Subject | GivenOutputs, settings: SelfBleuSettings) -> dict[str, Any]:
    if isinstance(subject, GivenOutputs):
        return dict(subject.about)
    return {**subject.about, "sampling": settings.sampling.model_dump(), "seed": settings.seed}


def _about_types(types: Sequence[str | None]) -> list[str]:
    missing = types.count(None)
    if not missing:
        return []
    which = "no prompt has" if missing == len(types) else f"{missing} of {len(types)} prompts are in no group, without"
    return [f"{which} a query type: --query-types local gives one, or a file that proxygold annotate wrote."]


def _about_answers(answers: SampledAnswers, scores: PromptScores) -> list[str]:
    notes = []
    if answers.surplus:
        notes.append(f"{answers.surplus} answers beyond those asked for were not used.")
    if empty := sum(length == 0 for lengths in scores.lengths for length in lengths):
        notes.append(f"{empty} answers have no word, which BLEU gives 0.")
    return notes


def _write_prompts(
    directory: EvaluationDirectory,
    name: str,
    records: Sequence[PromptRecord],
    answers: SampledAnswers,
    scores: PromptScores,
) -> None:
    """One line a prompt. A prompt without answers has null, and the reason."""
    lines = []
    for place, (record, reason) in enumerate(zip(records, answers.reasons, strict=True)):
        row = {
            "id": record.id,
            "query_type": record.query_type,
            SELF_BLEU: float(scores.values[place]),
            "bleu": scores.bleu[place],
            "words": scores.lengths[place],
            **({} if reason is None else {"reason": reason}),
        }
        lines.append(to_json(row) + "\n")
    write_whole(directory.model(name) / "self_bleu.jsonl", "".join(lines))
