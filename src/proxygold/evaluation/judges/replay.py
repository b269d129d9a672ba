"""A judge that asks nobody: verdicts that were given before, found again by what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from proxygold.errors import ConfigError
from proxygold.evaluation.judges.verdict_file import VerdictFile, read_verdict_lines
from proxygold.evaluation.judges.verdicts import (
    NO_ANSWER,
    Question,
    Verdict,
    VerdictLine,
    about_judge,
    read_verdict,
    request_hashes,
)
from proxygold.llm import Estimate

__all__ = ["ReplayJudge"]

# What EvaluationDirectory calls a model's file of verdicts.
VERDICTS = "verdicts.jsonl"

T = TypeVar("T")


class ReplayJudge:
    """Verdicts of a file, or of every verdicts.jsonl in a directory and below it, found by what was asked.

    A question that is not there gets no answer. Of verdicts of several judges, those of the judge of the last line are
    taken.
    """

    def __init__(self, source: Path) -> None:
        """Raises StoreError for what cannot be read, and ConfigError where there are no verdicts."""
        self._source = source
        files = sorted(source.rglob(VERDICTS)) if source.is_dir() else [source]
        given = [line for file in files for line in read_verdict_lines(file)]
        if not given:
            raise ConfigError(
                f"{source} has no verdicts. Give the directory, or a {VERDICTS}, of an evaluation that asked a judge."
            )
        self.who = given[-1].judge
        self.name = str(self.who.get("model", ""))
        self._given = {line.request: line for line in given if line.judge == self.who and line.failure != NO_ANSWER}
        self._lines: dict[str, VerdictLine] = {}

    @property
    def about(self) -> Mapping[str, Any]:
        return about_judge(self.who, self._lines) | {"replayed": str(self._source)}

    def ask(
        self,
        questions: Sequence[Question],
        parse: Callable[[str], T],
        file: Path,
        *,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Verdict[T]]:
        """See `Judge.ask`. What is found is added to `file`, so that it can be replayed as well."""
        kept = VerdictFile(file)
        verdicts: list[Verdict[T]] = []
        with kept.open():
            for question, request in zip(questions, request_hashes(questions), strict=True):
                known = self._given.get(request)
                if known is None:
                    reason = f"not among the verdicts of {self._source}"
                    verdicts.append(Verdict(question.id, None, NO_ANSWER, reason, "", ""))
                    continue
                line = replace(known, id=question.id)
                verdict = read_verdict(line, parse)
                line = replace(line, failure=verdict.failure, reason=verdict.reason)
                if not kept.has(line):
                    kept.add(line)
                self._lines[request] = line
                verdicts.append(verdict)
        progress(len(questions))
        return verdicts

    def estimate(self, questions: Sequence[Question], file: Path) -> Estimate:
        """Nothing is asked."""
        distinct = len(set(request_hashes(questions)))
        return Estimate(self.name, str(self._source), len(questions), distinct, distinct, 0, 0, None)
