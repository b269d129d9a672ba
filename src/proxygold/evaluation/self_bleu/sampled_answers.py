"""Several answers to each prompt: drawn from a model, or found in a file with several rows a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from proxygold.data.files import RejectedRow
from proxygold.errors import DataError
from proxygold.evaluation.answers.outputs import GivenOutputs, completion_of
from proxygold.evaluation.answers.prompts import EvaluationPrompts, prompt_key, read_prompts, with_types
from proxygold.evaluation.answers.row_prompts import PROMPT_FIELDS, PromptMatcher, prompt_of_row
from proxygold.evaluation.answers.subjects import Request, Subject
from proxygold.evaluation.progress import EvalProgress
from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import PromptRecord

__all__ = ["SampledAnswers", "asked_prompts", "draw_answers", "find_answers"]

ALPACA_EVAL = "alpaca_eval"


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """For each prompt its answers, or why there are not as many as were asked for; one of the two is empty.

    `strange`: rows of a file that answer none of the prompts. `surplus`: answers beyond those asked for.
    """

    texts: Sequence[Sequence[str]]
    reasons: Sequence[str | None]
    strange: Sequence[RejectedRow] = ()
    surplus: int = 0

    def left_out(self) -> dict[str, int]:
        """How many prompts have no answers, by the reason, without what is particular to one prompt."""
        return dict(Counter(reason.partition(":")[0] for reason in self.reasons if reason is not None))


def draw_answers(
    subject: Subject,
    records: Sequence[PromptRecord],
    sampling: SamplingSettings,
    samples: int,
    file: Path,
    *,
    seed: int,
    progress: EvalProgress,
) -> SampledAnswers:
    """`samples` answers of a model to each prompt.

    They are written to `file` as they come, and taken from it when they are there. Raises what `Subject.answer` raises.
    """
    requests = [Request(record.id, record.prompt, sampling, samples) for record in records]
    with progress.track(f"{subject.name}: answers", len(requests)) as advance:
        answers = subject.answer(requests, file, seed=seed, progress=advance)
    texts = [[answer.text for answer in found] for found in answers]
    reasons = [
        None if found else f"no room for an answer: {subject.left_out.get(record.id, 'none came')}"
        for record, found in zip(records, texts, strict=True)
    ]
    return SampledAnswers(texts, reasons)


def find_answers(outputs: GivenOutputs, records: Sequence[PromptRecord], samples: int) -> SampledAnswers:
    """The first `samples` answers that a file has to each prompt, told by what was asked or else by its id.

    Raises DataError when the file has as many answers to none of them.
    """
    matcher = PromptMatcher(records)
    found: list[list[str]] = [[] for _ in records]
    strange: list[RejectedRow] = []
    for line, row in zip(outputs.lines or range(1, len(outputs.rows) + 1), outputs.rows, strict=True):
        text = completion_of(row)
        if text is None:
            continue  # listed by `outputs.without_answer`
        place = matcher.place(row)
        if place is None:
            strange.append(RejectedRow(outputs.path, line, "answers none of the prompts"))
        else:
            found[place].append(text)
    most = max(map(len, found), default=0)
    if most == 0:
        rows = f"{len(strange)} of its {len(outputs.rows)} rows are to others, the rest have no answer as text"
        raise DataError(
            f"{outputs.path} answers none of the {len(records)} prompts: {rows}. Give the prompts that were answered: "
            "--prompts SOURCE."
        )
    if most < samples:
        raise DataError(
            f"{outputs.path} has at most {most} answers to a prompt, and {samples} are needed. Give a file with "
            f"several rows a prompt, such as proxygold generate --samples {samples} writes, or a smaller --samples."
        )
    enough = [len(texts) >= samples for texts in found]
    return SampledAnswers(
        [texts[:samples] if kept else [] for texts, kept in zip(found, enough, strict=True)],
        [None if kept else _too_few(len(texts), samples) for texts, kept in zip(found, enough, strict=True)],
        strange,
        sum(max(len(texts) - samples, 0) for texts in found),
    )


def asked_prompts(
    subjects: Sequence[Subject | GivenOutputs], source: str | None, *, limit: int | None, query_types: str | None
) -> EvaluationPrompts:
    """The prompts of `source` (see `read_prompts`). Without one, those that the given outputs answer, if a model is
    among the subjects AlpacaEval's.

    Raises DataError when no prompts are found.
    """
    given = [subject for subject in subjects if isinstance(subject, GivenOutputs)]
    if source is not None or len(given) < len(subjects):
        return read_prompts(source or ALPACA_EVAL, limit=limit, query_types=query_types)
    found = EvaluationPrompts(_prompts_of(given)[:limit], about={"prompts": "those of the outputs", "limit": limit})
    return with_types(found, query_types)


def _prompts_of(outputs: Sequence[GivenOutputs]) -> list[PromptRecord]:
    """The prompts that files of answers are to, in the order in which they come; one without an id gets its place.

    Raises DataError when no row of any says what was asked.
    """
    records: dict[str, PromptRecord] = {}
    ids: set[str] = set()
    for given in outputs:
        for row in given.rows:
            record = prompt_of_row(row)
            if record is None:
                continue  # counted where answers are found
            key = prompt_key(record.prompt)
            if key in records:
                if records[key].query_type is None:
                    records[key] = replace(records[key], query_type=record.query_type)
                continue
            # Several answers to a prompt may have an id each: it is the prompt that must not share one.
            names = (record.id, *(f"prompt-{number}" for number in range(len(records) + 1, 2 * len(records) + 3)))
            name = next(name for name in names if name and name not in ids)
            ids.add(name)
            records[key] = replace(record, id=name)
    if not records:
        fields = ", ".join(dict.fromkeys(name for given in outputs for name in given.fields()))
        raise DataError(
            f"no row of {', '.join(str(given.path) for given in outputs)} says what was asked: there is no "
            f"{' or '.join(PROMPT_FIELDS)}; the rows have {fields}. Give the prompts: --prompts SOURCE, with "
            "the ids that the rows have."
        )
    return list(records.values())


def _too_few(found: int, needed: int) -> str:
    return "no answer" if found == 0 else f"fewer than {needed} answers"
