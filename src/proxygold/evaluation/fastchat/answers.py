"""A model's answers to FastChat's questions: a conversation of one or two turns, each turn sampled in its own batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxygold.evaluation.answers.subjects import Answer, Request, Subject
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.fastchat.files import ChatQuestion, ModelAnswers, item_id
from proxygold.evaluation.progress import EvalProgress
from proxygold.models.policy_settings import SamplingSettings
from proxygold.records import Message
from proxygold.templates import TEMPLATES
from proxygold.text import trim_at_stop

__all__ = ["TEMPERATURES", "ChatSampling", "answer_questions", "temperature_of"]

# FastChat's, by category of question.
TEMPERATURES = {
    **dict.fromkeys(("writing", "roleplay"), 0.7),
    **dict.fromkeys(("extraction", "math", "coding", "reasoning"), 0.0),
    **dict.fromkeys(("stem", "humanities"), 0.1),
}
_OTHER_TEMPERATURE = 0.7

NO_ROOM = "not answered, for want of room in the model's context"
NO_FIRST_TURN = "not answered, as the first turn was not"


@dataclass(frozen=True, slots=True)
class ChatSampling:
    """How answers are drawn. `temperature` None: FastChat's of each category. `top_k` 0 and `top_p` 1 cut nothing."""

    max_new_tokens: int = 1024
    temperature: float | None = None
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


def temperature_of(category: str) -> float:
    """FastChat's temperature for a category.

    >>> temperature_of("roleplay"), temperature_of("math"), temperature_of("fermi")
    (0.7, 0.0, 0.7)
    """
    return TEMPERATURES.get(category, _OTHER_TEMPERATURE)


def answer_questions(
    subject: Subject,
    questions: Sequence[ChatQuestion],
    sampling: ChatSampling,
    directory: EvaluationDirectory,
    progress: EvalProgress,
) -> ModelAnswers:
    """Have a model answer: first turns, then second turns with the first and its answer before them.

    An answer is cut where the model began to write the next turn itself (the role markers of its prompt template) and
    stripped, as FastChat does, before it is judged or goes into the second turn. The file of answers has it uncut.
    """
    file = directory.answers_file(subject.name)
    turns: dict[str, list[str]] = {str(question.id): [] for question in questions}
    missing: dict[str, str] = {}
    unfinished = 0
    for turn in range(1, 1 + max(len(question.turns) for question in questions)):
        due = [question for question in questions if len(question.turns) >= turn]
        able = [question for question in due if len(turns[str(question.id)]) == turn - 1]
        missing |= {item_id(question, turn): NO_FIRST_TURN for question in due if question not in able}
        requests = [_request(question, turns[str(question.id)], turn, sampling) for question in able]
        with progress.track(f"{subject.name}: turn {turn}", len(requests)) as advance:
            answered = subject.answer(requests, file, seed=sampling.seed, progress=advance)
        for question, request, answers in zip(able, requests, answered, strict=True):
            if answers:
                turns[str(question.id)].append(_cut(answers[0], subject))
                unfinished += answers[0].finished is False
            else:
                missing[request.id] = NO_ROOM  # each with its own reason in `subject.left_out`
    about = {**subject.about, "answers_cut_at_max_new_tokens": unfinished}
    return ModelAnswers(subject.name, turns, missing, about)


def _request(question: ChatQuestion, before: Sequence[str], turn: int, sampling: ChatSampling) -> Request:
    messages: list[Message] = []
    for said, answer in zip(question.turns, before, strict=False):
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": question.turns[turn - 1]})
    temperature = temperature_of(question.category) if sampling.temperature is None else sampling.temperature
    drawn = SamplingSettings(
        max_new_tokens=sampling.max_new_tokens, temperature=temperature, top_p=sampling.top_p, top_k=sampling.top_k
    )
    # The same random stream for a turn, however many questions are asked.
    return Request(item_id(question, turn), messages, drawn, number=2 * question.number + turn - 1)


def _cut(answer: Answer, subject: Subject) -> str:
    template = TEMPLATES.get(str(subject.about.get("template")))
    return trim_at_stop(answer.text, template.role_markers if template is not None else ())
