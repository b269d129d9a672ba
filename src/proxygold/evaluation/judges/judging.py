"""LLM judges: questions in, verdicts out, each written to a file as it comes.

    with open_judge("gpt-4.1-mini", parameters={"temperature": 0, "max_tokens": 512}) as judge:
        verdicts = judge.ask(questions, parse, directory.verdicts_file(model))

A judge is a model at any OpenAI-compatible endpoint, or verdicts that were given before (`replay:FILE_OR_DIR`). What
is in the file already is not asked again, but for questions that got no answer; so after an interruption the same call
goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from proxygold.errors import ConfigError
from proxygold.evaluation.judges.replay import ReplayJudge
from proxygold.evaluation.judges.verdict_file import VerdictFile
from proxygold.evaluation.judges.verdicts import (
    NO_ANSWER,
    REFUSAL,
    UNPARSEABLE,
    Question,
    Verdict,
    VerdictLine,
    about_judge,
    failures,
    missing_bounds,
    prompt_hash,
    read_verdict,
    request_hash,
    request_hashes,
)
from proxygold.llm import LLM, Estimate, LLMSettings, Reply, TransportError

__all__ = [
    "NO_ANSWER",
    "REFUSAL",
    "REPLAY",
    "UNPARSEABLE",
    "DryJudge",
    "EndpointJudge",
    "Estimate",
    "Judge",
    "Question",
    "ReplayJudge",
    "Verdict",
    "failures",
    "missing_bounds",
    "open_judge",
    "prompt_hash",
]

REPLAY = "replay:"

T = TypeVar("T")


class Judge(Protocol):
    """Answers questions. `name` is the model's, as it stands in files; `about` says which judge it was, which snapshots
    of it answered, and what the verdicts took: complete after the last `ask`."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> Mapping[str, Any]: ...

    def ask(
        self,
        questions: Sequence[Question],
        parse: Callable[[str], T],
        file: Path,
        *,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Verdict[T]]:
        """A verdict for each question, in order, each added to `file` as it comes or taken from there.

        `parse` makes of a judge's words what is wanted, or raises ValueError with what is wrong with them. `progress`
        is told how many more are done. Raises JudgeError for what no retry can mend, and StoreError when `file` cannot
        be written; what was answered till then is kept.
        """
        ...

    def estimate(self, questions: Sequence[Question], file: Path) -> Estimate:
        """What `ask` would take."""
        ...


@contextmanager
def open_judge(
    name: str,
    *,
    parameters: Mapping[str, Any],
    base_url: str | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    max_cost: float | None = None,
    concurrency: int = 16,
    timeout: float = 60.0,
    retries: int = 5,
    cache: Path | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Iterator[EndpointJudge | ReplayJudge]:
    """The judge of a name: a model's at the endpoint, or `replay:FILE_OR_DIR`, which asks nobody and reads no other
    argument.

    `parameters` are sent as they are. `tell` gets the estimate, in sentences, before anything is asked. For the rest
    see `LLMSettings`. Raises ConfigError, and StoreError for a file that holds no verdicts.
    """
    if name.startswith(REPLAY):
        yield ReplayJudge(Path(name.removeprefix(REPLAY)))
        return
    if not name.strip():
        raise ConfigError("the judge has no name. Give the model's at the endpoint, or replay:PATH.")
    settings = LLMSettings(
        model=name,
        base_url=base_url,
        parameters={key: value for key, value in parameters.items() if value is not None},
        concurrency=concurrency,
        timeout=timeout,
        retries=retries,
        cache=cache,
        price_in=price_in,
        price_out=price_out,
        max_cost=max_cost,
    )
    with LLM(settings) as llm:
        yield EndpointJudge(llm, tell)


class EndpointJudge:
    """A model at an endpoint, asked through an `LLM`, with its cache, its retries and its cost limit."""

    def __init__(self, llm: LLM, tell: Callable[[str], None] = lambda sentence: None) -> None:
        self._llm = llm
        self._tell = tell
        settings = llm.settings
        self.name = settings.model
        self.who: Mapping[str, Any] = {
            "model": settings.model,
            "base_url": _without_key(settings.endpoint()),
            "parameters": dict(settings.parameters),
        }
        self._lines: dict[str, VerdictLine] = {}

    @property
    def about(self) -> Mapping[str, Any]:
        spent = self._llm.spent
        told = about_judge(self.who, self._lines)
        cost = self._llm.settings.cost(told["tokens_in"], told["tokens_out"])
        # Verdicts of earlier runs are in the first two, not in the last.
        return told | {"cost": cost, "calls_in_this_run": spent.calls, "cost_of_this_run": spent.cost}

    def ask(
        self,
        questions: Sequence[Question],
        parse: Callable[[str], T],
        file: Path,
        *,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Verdict[T]]:
        """See `Judge.ask`."""
        requests = request_hashes(questions)
        kept = VerdictFile(file)
        lines: dict[int, VerdictLine] = {}
        with kept.open():
            for index, (question, request) in enumerate(zip(questions, requests, strict=True)):
                if (known := kept.find(request, self.who)) is not None:
                    lines[index] = line = replace(known, id=question.id)
                    if not kept.has(line):
                        kept.add(line)
                    progress(1)
            open_ = [index for index in range(len(questions)) if index not in lines]
            for sentence in self._estimate(questions, open_).sentences("question") if open_ else ():
                self._tell(sentence)

            def done(place: int, reply: Reply | TransportError) -> None:
                index = open_[place]
                line = _line(questions[index].id, requests[index], self.who, reply)
                failure = read_verdict(line, parse)
                lines[index] = line = replace(line, failure=failure.failure, reason=failure.reason)
                kept.add(line)
                progress(1)

            asked = [questions[index] for index in open_]
            self._llm.replies([each.messages for each in asked], done, repeats=[each.repeat for each in asked])
        self._lines |= {line.request: line for line in lines.values()}
        return [read_verdict(lines[index], parse) for index in range(len(questions))]

    def estimate(self, questions: Sequence[Question], file: Path) -> Estimate:
        """See `Judge.estimate`."""
        kept = VerdictFile(file)
        requests = request_hashes(questions)
        return self._estimate(
            questions, [index for index, request in enumerate(requests) if kept.find(request, self.who) is None]
        )

    def _estimate(self, questions: Sequence[Question], open_: Sequence[int]) -> Estimate:
        """For all questions, of which those at `open_` are not in the file."""
        to_ask = self._llm.estimate((questions[index].messages, questions[index].repeat) for index in open_)
        distinct = len({request_hash(question) for question in questions})
        return replace(to_ask, rows=len(questions), distinct=distinct, answered=distinct - to_ask.to_ask)


class DryJudge:
    """Asks nobody: adds up what `judge` would be asked. Questions whose verdict is in the file get it, so that what a
    benchmark writes beside is as before; the others get "no answer"."""

    def __init__(self, judge: EndpointJudge | ReplayJudge) -> None:
        self._judge = judge
        self.name = judge.name
        self.estimates: list[Estimate] = []

    @property
    def about(self) -> Mapping[str, Any]:
        return self._judge.about

    def ask(
        self,
        questions: Sequence[Question],
        parse: Callable[[str], T],
        file: Path,
        *,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Verdict[T]]:
        """See `Judge.ask`. Writes nothing."""
        self.estimates.append(self._judge.estimate(questions, file))
        kept = VerdictFile(file)
        verdicts: list[Verdict[T]] = []
        for question in questions:
            known = kept.find(request_hash(question), self._judge.who)
            verdicts.append(
                Verdict(question.id, None, NO_ANSWER, "nothing was asked", "", "")
                if known is None
                else read_verdict(replace(known, id=question.id), parse)
            )
        progress(len(questions))
        return verdicts

    def estimate(self, questions: Sequence[Question], file: Path) -> Estimate:
        """See `Judge.estimate`."""
        return self._judge.estimate(questions, file)


def _line(id: str, request: str, who: Mapping[str, Any], reply: Reply | TransportError) -> VerdictLine:
    if isinstance(reply, TransportError):
        return VerdictLine(id, request, who, "", "", NO_ANSWER, str(reply), None, 0, 0)
    failure, reason = (None, "") if reply.refusal is None else (REFUSAL, reply.refusal)
    tokens = (reply.prompt_tokens, reply.completion_tokens)
    return VerdictLine(id, request, who, reply.model, reply.text, failure, reason, reply.finish_reason, *tokens)


def _without_key(url: str) -> str:
    """An address without the user and password that it may have in it, nor a query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
