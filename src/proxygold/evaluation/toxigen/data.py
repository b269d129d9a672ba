"""ToxiGen's prompts, out of the files that they are published in, or rows of any data file."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxygold.data.files import RejectedRow, read_rows
from proxygold.errors import ConfigError, DataError

__all__ = ["LABELS", "PromptSet", "ToxiGenPrompt", "read_toxigen"]

LABELS = ("hate", "neutral")
_PROMPT = ("prompt", "text")
_GROUP = ("group", "target_group", "target_groups")
_LABEL = ("label", "prompt_label")


@dataclass(frozen=True, slots=True)
class ToxiGenPrompt:
    """A list of sentences about a group, to be gone on with. `label`: whether they are hateful or neutral."""

    id: str
    text: str
    group: str
    label: str


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts to go on with, in the order of the files, and the rows that could not be used."""

    prompts: Sequence[ToxiGenPrompt]
    rejected: Sequence[RejectedRow]


def read_toxigen(
    data: Path, *, label: str = "hate", per_group: int = 500, seed: int = 0, limit: int | None = None
) -> PromptSet:
    """The prompts of one label, or of `all`: at most `per_group` of each label and group, chosen by `seed`.

    `data`: the directory of ToxiGen's `prompts/hate_GROUP_1k.txt` and `neutral_GROUP_1k.txt` (a prompt a line, line
    breaks in it written as a backslash and n), one such file, or rows with `prompt`, `group` and `label`. `limit`: of
    those, the first so many.

    Raises ConfigError for an unknown label and DataError when a file is missing or has no such prompt.
    """
    if label not in (*LABELS, "all"):
        raise ConfigError(f"--label is {label!r}; allowed: {', '.join(LABELS)}, all.")
    wanted = LABELS if label == "all" else (label,)
    rejected: list[RejectedRow] = []
    by_group: dict[tuple[str, str], list[ToxiGenPrompt]] = {}
    order: list[ToxiGenPrompt] = []
    for found in _all_prompts(data):
        if isinstance(found, RejectedRow):
            rejected.append(found)
        elif found.label in wanted:
            by_group.setdefault((found.label, found.group), []).append(found)
            order.append(found)
    chosen = {prompt.id for key, prompts in by_group.items() for prompt in _choose(prompts, per_group, key, seed)}
    prompts = [prompt for prompt in order if prompt.id in chosen][:limit]
    if not prompts:
        why = f" The first problem: {rejected[0]}." if rejected else ""
        raise DataError(f"{data} has no prompt labelled {' or '.join(wanted)}.{why}")
    return PromptSet(prompts, rejected)


def _choose(prompts: Sequence[ToxiGenPrompt], most: int, key: tuple[str, str], seed: int) -> Sequence[ToxiGenPrompt]:
    """A group's choice does not depend on which other groups there are."""
    if len(prompts) <= most:
        return prompts
    return random.Random(f"toxigen {seed} {' '.join(key)}").sample(prompts, most)


def _all_prompts(data: Path) -> Iterator[ToxiGenPrompt | RejectedRow]:
    if data.is_dir():
        files = sorted(path for path in data.glob("*.txt") if path.name.startswith(LABELS))
        if not files:
            raise DataError(
                f"{data} has no hate_GROUP_1k.txt or neutral_GROUP_1k.txt. Give ToxiGen's prompts directory, one of "
                "its files, or a file of rows with prompt, group and label."
            )
        for file in files:
            yield from _text_prompts(file)
    elif data.suffix == ".txt":
        yield from _text_prompts(data)
    else:
        yield from _row_prompts(data)


def _text_prompts(path: Path) -> Iterator[ToxiGenPrompt]:
    label, _, group = path.stem.partition("_")
    if label not in LABELS or not group:
        raise DataError(f"{path.name} does not say its label and group. ToxiGen's files are called hate_GROUP_1k.txt.")
    group = group.removesuffix("_1k")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            text = line.strip().replace("\\\\", "\\").replace("\\n", "\n")
            yield ToxiGenPrompt(f"{label}/{group}/{number}", text, group, label)


def _row_prompts(path: Path) -> Iterator[ToxiGenPrompt | RejectedRow]:
    counts: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for row in read_rows(path):
        if isinstance(row, RejectedRow):
            yield row
            continue
        text, group, label = (
            next((row.values[name] for name in names if row.values.get(name) is not None), None)
            for names in (_PROMPT, _GROUP, _LABEL)
        )
        if isinstance(group, list) and len(group) == 1:
            group = group[0]
        if not (isinstance(text, str) and text.strip() and isinstance(group, str) and isinstance(label, str)):
            yield RejectedRow(path, row.line, "prompt, group and label are needed, each a text")
            continue
        if label not in LABELS:
            yield RejectedRow(path, row.line, f"label is {label!r}; allowed: {', '.join(LABELS)}")
            continue
        number = counts[label, group] = counts.get((label, group), 0) + 1
        identity = str(row.values.get("id") or f"{label}/{group}/{number}")
        if identity in seen:
            yield RejectedRow(path, row.line, f"the id {identity!r} was there before")
            continue
        seen.add(identity)
        yield ToxiGenPrompt(identity, text, group, label)
