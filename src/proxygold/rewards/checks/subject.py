"""What is checked: a reward, warm, with ordinary answers and their scores, and how long one of them takes."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from proxygold.data.files import RejectedRow
from proxygold.data.rows import read_examples
from proxygold.errors import DataError, RewardError
from proxygold.features.custom_rows import mistake_in
from proxygold.records import CLOSED_ENDED, OPEN_ENDED, QUERY_TYPE_ALIASES, Example, Scored
from proxygold.rewards.calibration import MIN_ROWS
from proxygold.rewards.checks.answers import ordinary_answers
from proxygold.rewards.checks.process_settings import process_settings
from proxygold.rewards.checks.processes import CHILD_ROWS, Child
from proxygold.rewards.runtime import Reward

__all__ = ["Subject", "examples_from_file", "make_subject"]

# Rows of a file that are looked at, and ordinary answers that are scored by most checks.
_READ = 2048
_MOST = 120
# Seconds that one pass over some answers may take, so that a slow reward is checked on fewer of them.
_PASS = 3.0
_FEWEST = 4


@dataclass(frozen=True)
class Subject:
    """A reward and `examples`, ordinary answers, with their scores.

    `untouched`: copies of the examples, and `settings`: those of the process, from before the reward saw either.
    `loading`: seconds of the first score; `row_seconds`: of one answer later, when the texts are new.
    """

    reward: Reward
    examples: tuple[Example, ...]
    scored: Scored
    untouched: tuple[Example, ...]
    settings: Mapping[str, object]
    loading: float
    row_seconds: float

    @cached_property
    def child(self) -> Child:
        """Another process, which is started at the first use, and works beside this one until its answer is needed."""
        patience = 60 + 10 * self.loading + 3 * CHILD_ROWS * self.row_seconds
        return Child(self.reward, self.rows(self.few(CHILD_ROWS)), patience)

    def few(self, most: int, repeats: int = 1) -> list[int]:
        """At most `most` rows, evenly spread, fewer when scoring them `repeats` times would take too long."""
        affordable = int(_PASS / max(self.row_seconds * repeats, 1e-9))
        count = min(len(self.examples), most, max(affordable, _FEWEST))
        return [row * len(self.examples) // count for row in range(count)]

    def rows(self, rows: Sequence[int]) -> list[Example]:
        return [self.examples[row] for row in rows]

    @cached_property
    def bases(self) -> list[Example]:
        """An ordinary answer for each query type that there is: what other texts are put into."""
        by_kind = {QUERY_TYPE_ALIASES.get(example.query_type or ""): example for example in reversed(self.examples)}
        return [by_kind[kind] for kind in (OPEN_ENDED, CLOSED_ENDED) if kind in by_kind] or [self.examples[0]]

    def answered(self, text: str) -> list[Example]:
        """The text as an answer to each of the bases."""
        return [replace(base, completion=text) for base in self.bases]

    def new_mistakes(self, scored: Scored) -> list[tuple[int, str]]:
        """Rows on which a feature failed, and how, other than it fails on ordinary answers already."""
        known = {mistake_in(reason) for reason in self.scored.reasons if reason} | {None}
        return [(row, reason) for row, reason in _unscored(scored) if mistake_in(reason) not in known]

    def new_gaps(self, scored: Scored) -> list[tuple[int, str]]:
        """Rows without a score that is no feature's failure, and why, other than ordinary answers have none."""
        known = set(self.scored.reasons)
        return [
            (row, reason) for row, reason in _unscored(scored) if reason not in known and mistake_in(reason) is None
        ]


def make_subject(reward: Reward, examples: Sequence[Example] | None = None) -> Subject:
    """Load what the reward needs, measure any `match`, and score ordinary answers: `examples` or the built-in ones.

    Raises RewardError when a column that the reward requires is nowhere in the answers, and whatever loading raises.
    """
    # A row that cannot be scored is a finding, not the end of the check.
    reward = Reward(reward.tree, replace(reward.settings, on_error="nan"))
    given = list(ordinary_answers() if examples is None else examples)
    if not given:
        raise RewardError("there is no answer to check the reward on. Give at least one example, or none at all.")
    _check_columns(reward, given, built_in=examples is None)
    untouched, settings = copy.deepcopy(given), process_settings()
    start = time.perf_counter()
    if not reward.resolved:
        reward = reward.calibrate(_spread(given, 2 * MIN_ROWS))
    reward.score([given[0], given[-1]])
    loading = time.perf_counter() - start
    probe = _spread([replace(example, completion=example.completion + " ") for example in given], 8)
    start = time.perf_counter()
    reward.score(probe)
    row_seconds = (time.perf_counter() - start) / len(probe)
    count = min(_MOST, max(MIN_ROWS, int(_PASS / row_seconds)))
    chosen = _spread(given, count)
    return Subject(
        reward=reward,
        examples=tuple(chosen),
        scored=reward.score(chosen),
        untouched=tuple(_spread(untouched, count)),
        settings=settings,
        loading=loading,
        row_seconds=row_seconds,
    )


def examples_from_file(path: Path) -> list[Example]:
    """The usable rows among the first of a data file. Raises DataError when there is none."""
    items = list(islice(read_examples(path), _READ))
    examples = [item[1] for item in items if not isinstance(item, RejectedRow)]
    if not examples:
        first = f" The first: {items[0]}" if items else ""
        raise DataError(f"no row of {path} can be used.{first}")
    return examples


def _unscored(scored: Scored) -> list[tuple[int, str]]:
    return [(row, reason) for row, reason in enumerate(scored.reasons) if reason is not None]


def _spread(examples: Sequence[Example], count: int) -> list[Example]:
    count = min(count, len(examples))
    return [examples[row * len(examples) // count] for row in range(count)]


def _check_columns(reward: Reward, examples: Sequence[Example], *, built_in: bool) -> None:
    for name in sorted(reward.required_columns):
        if all(_column(example, name) is None for example in examples):
            where = "the built-in answers have" if built_in else "no example has"
            raise RewardError(
                f"{reward} needs the column {name}, and {where} {'none' if built_in else 'one'}. "
                + ("Give data that has it: --data FILE." if built_in else "Give data that has it.")
            )


def _column(example: Example, name: str) -> object:
    return getattr(example, name) if name in ("reference", "query_type") else example.columns.get(name)
