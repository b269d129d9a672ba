"""What is measured of the answers of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from proxygold.evaluation.answers.outputs import GivenOutputs
from proxygold.evaluation.answers.subjects import Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.judges.judging import Judge, failures, missing_bounds
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.responses.found import Response, Responses, draw_responses, find_responses
from proxygold.evaluation.responses.gold_scores import score_answers
from proxygold.evaluation.responses.measures import count_tokens, encoder_relevance, has_sentence, surface_measures
from proxygold.evaluation.responses.run_answers import recorded_gold
from proxygold.evaluation.responses.sentence_judging import DEFAULT_PROMPT, SentenceQuestion, relevant_share
from proxygold.json_lines import to_json
from proxygold.models.encoder import EncoderSettings
from proxygold.models.policy_settings import SamplingSettings
from proxygold.models.reward_settings import RewardModelSettings
from proxygold.records import Example, FloatArray, PromptRecord
from proxygold.text import GENERIC_STOP_STRINGS
from proxygold.whole_files import write_whole

__all__ = [
    "GOLD",
    "MeasuredResponses",
    "ResponsesSettings",
    "count_responses",
    "gather_responses",
    "judge_responses",
    "score_responses",
    "write_values",
]

GOLD = "gold"
_BY_JUDGE, _BY_ENCODER = "relevant_by_judge", "relevant_by_encoder"
_NO_SENTENCE = "without a sentence"


@dataclass(frozen=True, slots=True)
class ResponsesSettings:
    """What is measured.

    - `sampling`, `seed`: of the answers of models; the paper's are temperature 0.7 and at most 512 tokens.
    - `stop_strings`: an answer ends before the first of them, as for LI and RP.
    - `ngram`: of the repetition.
    - `encoder`, `threshold`: which sentences the bi-encoder takes for relevant; None leaves it out. The threshold is a
      cosine, for an encoder that normalises.
    - `sentence_prompt`: the judge's question.
    - `gold`: a reward model; None takes the scores that a run has of its own answers, if it has.
    - `tokenizer`: counts the tokens of answers that say nothing of them.
    - `baseline`: the model that others are compared with; None compares each with each.
    """

    sampling: SamplingSettings = field(default_factory=lambda: SamplingSettings(max_new_tokens=512, temperature=0.7))
    seed: int = 0
    stop_strings: tuple[str, ...] = GENERIC_STOP_STRINGS
    ngram: int = 4
    encoder: EncoderSettings | None = field(default_factory=EncoderSettings)
    threshold: float = 0.3
    sentence_prompt: str = DEFAULT_PROMPT
    gold: RewardModelSettings | None = None
    tokenizer: str | None = None
    baseline: str | None = None


@dataclass(slots=True)
class MeasuredResponses:
    """One model's values by metric, (n,) each in the order of the prompts, and what is missing and why."""

    name: str
    about: Mapping[str, Any]
    found: Responses
    values: dict[str, FloatArray]
    left_out: dict[str, int]
    notes: list[str]


def gather_responses(
    subject: Subject | GivenOutputs,
    records: Sequence[PromptRecord],
    settings: ResponsesSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
    limit: int | None = None,
) -> MeasuredResponses:
    """The answers of a model, or of a file, with nothing measured yet. `limit`: of the prompts, if there is one."""
    if isinstance(subject, GivenOutputs):
        found = find_responses(subject, records, settings.stop_strings)
    else:
        file = directory.answers_file(subject.name)
        found = draw_responses(
            subject, records, settings.sampling, file, settings.stop_strings, seed=settings.seed, progress=progress
        )
    notes = []
    if found.strange and limit is None:  # with a limit most do
        notes.append(
            f"{subject.name}: {len(found.strange):,} rows answer none of the prompts, first {found.strange[0]}"
        )
    if found.surplus:
        notes.append(f"{subject.name}: of several answers to a prompt the first is taken; {found.surplus:,} are not.")
    return MeasuredResponses(subject.name, subject.about, found, {}, found.left_out(), notes)


def count_responses(
    model: MeasuredResponses, records: Sequence[PromptRecord], settings: ResponsesSettings, progress: EvalProgress
) -> None:
    """Add what can be counted, and the bi-encoder's view of sentences."""
    answers = model.found.answers
    model.values |= surface_measures(answers, settings.ngram)
    uncounted = np.isnan(model.values["tokens"])
    if settings.tokenizer is not None and uncounted.any():
        counted = count_tokens(answers, settings.tokenizer)
        model.values["tokens"] = np.where(uncounted, counted, model.values["tokens"])
    elif uncounted.all():
        model.notes.append(f"{model.name}: nobody counted the tokens of these answers. --tokenizer MODEL does.")
    if settings.encoder is not None:
        _count_without_sentence(model)
        with progress.track(f"{model.name}: sentences", len(records)) as advance:
            shares = encoder_relevance(records, answers, settings.encoder, settings.threshold, advance)
        model.values[_BY_ENCODER] = shares


def score_responses(
    model: MeasuredResponses,
    subject: Subject | GivenOutputs,
    records: Sequence[PromptRecord],
    settings: ResponsesSettings,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> None:
    """Add gold of every answer: by the reward model, else what the run of a file of rollouts has."""
    if settings.gold is None:
        recorded = recorded_gold(subject) if isinstance(subject, GivenOutputs) else None
        if recorded is not None:
            by_id = [recorded.get(record.id, np.nan) for record in records]
            model.values[GOLD] = np.array(by_id, dtype=np.float64)
        return
    places = [place for place, answer in enumerate(model.found.answers) if answer is not None]
    examples = [Example(records[place].prompt, _text(model.found.answers[place])) for place in places]
    with progress.track(f"{model.name}: gold", len(examples)) as advance:
        file = directory.model(model.name) / "gold.jsonl"
        scores, reasons = score_answers(examples, settings.gold, file, progress=advance)
    model.values[GOLD] = np.full(len(records), np.nan)
    model.values[GOLD][places] = scores
    if unscored := sum(reason is not None for reason in reasons):
        model.left_out["no gold score"] = unscored


def judge_responses(
    model: MeasuredResponses,
    records: Sequence[PromptRecord],
    question: SentenceQuestion,
    judge: Judge,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> None:
    """Add the judge's view of sentences, with bounds when some answers are not judged."""
    answers = model.found.answers
    _count_without_sentence(model)
    places = [place for place, answer in enumerate(answers) if has_sentence(answer)]
    asked = [question.ask(records[place].id, records[place].prompt, _text(answers[place])) for place in places]
    with progress.track(f"{model.name}: verdicts", len(asked)) as advance:
        file = directory.verdicts_file(model.name)
        verdicts = judge.ask(asked, question.parse, file, progress=advance)
    checked = [
        question.checked(verdict, _text(answers[place])) for place, verdict in zip(places, verdicts, strict=True)
    ]
    shares = np.array(
        [np.nan if verdict.value is None else relevant_share(verdict.value) for verdict in checked], dtype=np.float64
    )
    model.values[_BY_JUDGE] = np.full(len(records), np.nan)
    model.values[_BY_JUDGE][places] = shares
    model.left_out |= {f"not judged: {kind}": count for kind, count in failures(checked).items()}
    if np.isnan(shares).any():
        low, high = missing_bounds(shares, 0.0, 100.0)
        model.notes.append(
            f"{model.name}: {np.isnan(shares).sum():,} of {len(shares):,} answers are not judged; relevant sentences "
            f"are {low:.1f}% if none of theirs is relevant, {high:.1f}% if all are."
        )


def write_values(model: MeasuredResponses, records: Sequence[PromptRecord], directory: EvaluationDirectory) -> None:
    """Write MODEL/responses.jsonl: the values of each answer, or the reason why there is none."""
    lines = [
        {
            "id": record.id,
            "query_type": record.query_type,
            **{name: values[place] for name, values in model.values.items()},
            "reason": model.found.reasons[place],
        }
        for place, record in enumerate(records)
    ]
    write_whole(directory.model(model.name) / "responses.jsonl", "".join(to_json(line) + "\n" for line in lines))


def _count_without_sentence(model: MeasuredResponses) -> None:
    """What neither the judge nor the encoder can say anything of."""
    if without := sum(answer is not None and not has_sentence(answer) for answer in model.found.answers):
        model.left_out[_NO_SENTENCE] = without


def _text(answer: Response | None) -> str:
    return "" if answer is None else answer.text
