"""Judge prompts for answers of one and of two turns, graded alone or compared: our own, or FastChat's file as it is.

Both ask for the same marks, `[[7]]` for a grade and `[[A]]`, `[[B]]` or `[[C]]` (a tie) for a comparison, and both are
read as FastChat reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from proxygold.data.files import RejectedRow, read_rows
from proxygold.errors import DataError
from proxygold.evaluation.fastchat.own_prompts import SYSTEM, own_template
from proxygold.evaluation.judges.judging import prompt_hash
from proxygold.records import Message

__all__ = [
    "JudgePrompt",
    "JudgePrompts",
    "Mode",
    "Winner",
    "own_prompts",
    "parse_grade",
    "parse_winner",
    "read_judge_prompts",
]

Mode = Literal["single", "pairwise"]
Winner = Literal["A", "B", "tie"]

# FastChat's names for its prompts, by (mode, with a reference answer, for a second turn).
_NAMES: Mapping[tuple[Mode, bool, bool], str] = {
    ("single", False, False): "single-v1",
    ("single", True, False): "single-math-v1",
    ("single", False, True): "single-v1-multi-turn",
    ("single", True, True): "single-math-v1-multi-turn",
    ("pairwise", False, False): "pair-v2",
    ("pairwise", True, False): "pair-math-v1",
    ("pairwise", False, True): "pair-v2-multi-turn",
    ("pairwise", True, True): "pair-math-v1-multi-turn",
}
_FORMATS: Mapping[Mode, str] = {"single": "[[rating]]", "pairwise": "[[A]]"}

# "[[7]]" or, where there is none, "[7]".
_MARKS = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
_WORST, _BEST = 0.0, 10.0


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """What a judge is told (`system`; empty: nothing) and asked (`template`, with fields in braces)."""

    name: str
    system: str
    template: str

    def messages(self, fields: Mapping[str, str]) -> list[Message]:
        """The question about one answer, or about two."""
        asked: list[Message] = [{"role": "user", "content": self.template.format_map(fields)}]
        return [{"role": "system", "content": self.system}, *asked] if self.system else asked


@dataclass(frozen=True, slots=True)
class JudgePrompts:
    """The prompts of a mode. `source`: the file, or None for our own."""

    mode: Mode
    prompts: Mapping[tuple[bool, bool], JudgePrompt]
    source: Path | None = None

    def of(self, *, reference: bool, turn: int) -> JudgePrompt:
        """The prompt for an answer to `turn` (1 or 2), with or without a reference answer."""
        return self.prompts[reference, turn == 2]

    def about(self) -> dict[str, Any]:
        """Which prompts they are, each with the hash of its text."""
        return {
            "source": "proxygold" if self.source is None else str(self.source),
            "hashes": {
                prompt.name: prompt_hash(f"{prompt.system}\n{prompt.template}") for prompt in self.prompts.values()
            },
        }


def own_prompts(mode: Mode) -> JudgePrompts:
    """Our own prompts."""
    made = {}
    for (kind, reference, second), name in _NAMES.items():
        if kind == mode:
            template = own_template(mode, reference=reference, second=second)
            prompt = JudgePrompt(f"proxygold-{name}", SYSTEM, template)
            _check(prompt, mode, reference=reference, second=second)
            made[reference, second] = prompt
    return JudgePrompts(mode, made)


def read_judge_prompts(path: Path, mode: Mode) -> JudgePrompts:
    """The prompts of a mode in FastChat's `judge_prompts.jsonl`.

    Raises DataError when the file cannot be read, lacks one of them, or has one with unknown fields.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            raise DataError(f"{row}. A file of judge prompts has one JSON object on each line.")
        found[str(row.values.get("name"))] = row.values
    made = {}
    for (kind, reference, second), name in _NAMES.items():
        if kind != mode:
            continue
        if name not in found:
            raise DataError(f"{path} has no judge prompt {name!r}; it has {', '.join(found)}.")
        prompt = _read(path, name, found[name], mode)
        _check(prompt, mode, reference=reference, second=second, where=f"{path}: ")
        made[reference, second] = prompt
    return JudgePrompts(mode, made, path)


def _read(path: Path, name: str, row: Mapping[str, Any], mode: Mode) -> JudgePrompt:
    system, template = row.get("system_prompt", ""), row.get("prompt_template")
    if not isinstance(system, str) or not isinstance(template, str):
        raise DataError(f"{path}: system_prompt and prompt_template of {name!r} have to be texts.")
    wanted = _FORMATS[mode]
    if row.get("output_format", wanted) != wanted:
        raise DataError(f"{path}: {name!r} asks for the output format {row['output_format']!r}; {wanted} is read.")
    return JudgePrompt(name, system, template)


def _check(prompt: JudgePrompt, mode: Mode, *, reference: bool, second: bool, where: str = "") -> None:
    """Raises DataError for a template with fields that nothing fills, or without the answer that is judged."""
    answers = ("answer_a", "answer_b") if mode == "pairwise" else ("answer",)
    needed = {f"{name}_{turn}" for name in answers for turn in (1, 2)} if second else set(answers)
    allowed = needed | ({"question_1", "question_2"} if second else {"question"})
    if reference:
        allowed |= {"ref_answer_1", "ref_answer_2"} if second else {"ref_answer_1"}
    try:
        fields = {name for _, name, _, _ in Formatter().parse(prompt.template) if name is not None}
    except ValueError as error:
        raise DataError(
            f"{where}the template of {prompt.name!r} cannot be filled in: {error}. Write a brace of the text twice."
        ) from error
    if not needed <= fields <= allowed:
        raise DataError(
            f"{where}the template of {prompt.name!r} has the fields {', '.join(sorted(fields)) or 'none'}; allowed are "
            f"{', '.join(sorted(allowed))}, and {', '.join(sorted(needed))} must be there."
        )


def parse_grade(text: str) -> float:
    """The grade in a judge's words. Raises ValueError when there is none between 0 and 10.

    FastChat would take any number. One outside of the scale is no grade on it.

    >>> parse_grade("Good, but short. Rating: [[7]]"), parse_grade("Rating: [6.5]")
    (7.0, 6.5)
    """
    found = next((match for mark in _MARKS if (match := mark.search(text))), None)
    if found is None:
        raise ValueError("no grade such as [[7]]")
    grade = float(found[1])
    if not _WORST <= grade <= _BEST:
        raise ValueError(f"the grade {found[1]} is not between 0 and 10")
    return grade


def parse_winner(text: str) -> Winner:
    """The better answer in a judge's words. Raises ValueError when there is none.

    Of several marks the first of A, B, C counts, wherever they stand, as in FastChat.

    >>> parse_winner("Both are wrong. [[C]]"), parse_winner("Not [[B]]: [[A]]")
    ('tie', 'A')
    """
    for mark, winner in _MARKED:
        if mark in text:
            return winner
    raise ValueError("no verdict such as [[A]], [[B]] or [[C]]")


_MARKED: tuple[tuple[str, Winner], ...] = (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", "tie"))
