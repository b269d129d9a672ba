"""One answer to each prompt: drawn from a model, or found in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxygold.data.files import RejectedRow
from proxygold.data.rows import prompt_from_row
from proxygold.errors import DataError
from proxygold.evaluation.answers.outputs import GivenOutputs, completion_of
from proxygold.evaluation.answers.prompts import prompt_key
from proxygold.evaluation.answers.subjects import Request, Subject
from proxygold.evaluation.progress import EvalProgress
from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import PromptRecord
from proxygold.text import trim_at_stop

__all__ = ["Response", "Responses", "draw_responses", "find_responses"]

# Where files of answers have what was asked, and its id: ours, AlpacaEval's; a run's rollouts.
_PROMPT, _ID = ("prompt", "instruction"), ("id", "prompt_id")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, cut at the first stop string. `tokens` and `finished` are of the whole, None where nobody knows."""

    text: str
    tokens: int | None
    finished: bool | None


@dataclass(frozen=True, slots=True)
class Responses:
    """For each prompt the answer, or the reason why there is none.

    `strange`: rows of a file that answer none of the prompts. `surplus`: further answers to prompts that have one.
    """

    answers: Sequence[Response | None]
    reasons: Sequence[str | None]
    strange: Sequence[RejectedRow] = ()
    surplus: int = 0

    def left_out(self) -> dict[str, int]:
        """How many prompts have no answer, by the reason."""
        return dict(Counter(reason for reason in self.reasons if reason is not None))


def draw_responses(
    subject: Subject,
    records: Sequence[PromptRecord],
    sampling: SamplingSettings,
    file: Path,
    stop_strings: Sequence[str],
    *,
    seed: int,
    progress: EvalProgress,
) -> Responses:
    """A model's answer to each prompt, written to `file` as it comes. Raises what `Subject.answer` raises."""
    requests = [Request(record.id, record.prompt, sampling) for record in records]
    with progress.track(f"{subject.name}: answers", len(requests)) as advance:
        found = subject.answer(requests, file, seed=seed, progress=advance)
    answers = [
        Response(trim_at_stop(drawn[0].text, stop_strings), drawn[0].tokens, drawn[0].finished) if drawn else None
        for drawn in found
    ]
    return Responses(answers, [None if answer is not None else "no room for an answer" for answer in answers])


def find_responses(outputs: GivenOutputs, records: Sequence[PromptRecord], stop_strings: Sequence[str]) -> Responses:
    """The first answer that a file has to each prompt, told by what was asked, else by its id.

    Raises DataError when it has none to any of them.
    """
    by_key = {prompt_key(record.prompt): place for place, record in enumerate(records)}
    by_id = {record.id: place for place, record in enumerate(records)}
    answers: list[Response | None] = [None] * len(records)
    strange: list[RejectedRow] = []
    surplus = 0
    for line, row in _numbered(outputs):
        text = completion_of(row)
        place = _place(row, by_key, by_id)
        if text is None:
            continue  # `GivenOutputs.without_answer` lists it
        if place is None:
            strange.append(RejectedRow(outputs.path, line, "none of the prompts was asked"))
        elif answers[place] is not None:
            surplus += 1
        else:
            tokens, finished = row.get("tokens"), row.get("finished")
            answers[place] = Response(
                trim_at_stop(text, stop_strings),
                tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None,
                finished if isinstance(finished, bool) else None,
            )
    if not any(answers):
        raise DataError(
            f"no row of {outputs.path} answers one of the {len(records)} prompts. Rows are told by "
            f"{' or '.join(_PROMPT)}, else by {' or '.join(_ID)}; these have {', '.join(outputs.fields())}."
        )
    reasons = [None if answer is not None else "no answer in the file" for answer in answers]
    return Responses(answers, reasons, strange, surplus)


def _numbered(outputs: GivenOutputs) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return zip(outputs.lines or range(1, len(outputs.rows) + 1), outputs.rows, strict=True)


def _place(row: Mapping[str, Any], by_key: Mapping[str, int], by_id: Mapping[str, int]) -> int | None:
    """Which prompt a row answers: what it says was asked decides, and its id only when it does not say."""
    asked = _first(row, _PROMPT)
    if asked is None:
        return by_id.get(str(_first(row, _ID)))
    try:
        return by_key.get(prompt_key(prompt_from_row({"prompt": asked}, "").prompt))
    except DataError:
        return None


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
