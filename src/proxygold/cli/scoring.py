"""What `score` makes of what was typed, and what it shows: rows and rate while it works, what was written."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from proxygold.data.sources import Source
from proxygold.errors import ConfigError
from proxygold.rewards.options import RewardOptions
from proxygold.rewards.runtime import Reward
from proxygold.rewards.score_engine import Engine, ThisProcess
from proxygold.rewards.score_file import ScoreSummary

__all__ = ["choose_engine", "print_summary", "row_progress", "split_arguments"]

# More bytes than this are not read beforehand only to say how many rows there are.
_COUNTED = 1 << 30


def split_arguments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The data and the settings (`key=value`) among what was typed. A file may have a `=` in its name.

    Raises ConfigError when there is no data.
    """
    sources: list[str] = []
    settings: list[str] = []
    for number, word in enumerate(words):
        is_file = Path(word).exists() or (glob.has_magic(word) and bool(glob.glob(word, recursive=True)))
        # A setting without its value is told as one, and not as a file that is missing.
        is_setting = "=" in word or (number > 0 and (word.startswith("encoder.") or word in RewardOptions.model_fields))
        (settings if is_setting and not is_file else sources).append(word)
    if not sources:
        raise ConfigError("there is no data to score. Give a file, a directory, a pattern in quotes, or hub:NAME.")
    return sources, settings


def choose_engine(name: str, workers: int | None) -> Engine:
    """Who scores. Raises ConfigError for a number of workers that is not allowed."""
    from proxygold.rewards.score_workers import Workers

    if name == "ray":
        from proxygold.integrations.ray import RayEngine

        return RayEngine(workers)
    return ThisProcess() if workers in (None, 1) else Workers(workers or 0)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} rows/s")


@contextmanager
def row_progress(sources: Sequence[Source]) -> Iterator[Callable[[int], None]]:
    """A bar over the rows of the data on standard error, if that is a terminal; nothing otherwise."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda rows: None
        return
    known = sum(source.bytes_to_count() for source in sources) <= _COUNTED
    total = sum(source.count() for source in sources) if known else None
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("scoring", total=total)
        yield lambda rows: bar.advance(task, rows)


def print_summary(summary: ScoreSummary, reward: Reward) -> None:
    """Say what was written and where, and how many rows have no score or were rejected, and why."""
    rows = summary.scored + summary.not_scored
    before = f" ({summary.resumed:,} of them by a run before)" if summary.resumed else ""
    print(f"wrote {summary.written}: {_count(rows, 'row')}{before}, {summary.scored:,} scored by {reward}")
    if summary.not_scored:
        lines = _lines(summary)
        print(f"{_count(summary.not_scored, 'row')} without a score ({lines}):")
        for reason, count in summary.reasons.most_common(5):
            print(f"  {count:,} x {reason}")
    if summary.rejected:
        print(f"{_count(summary.rejected, 'row')} rejected, listed in {summary.rejected_file}:")
        for row in summary.first_rejected:
            print(f"  {row}")
        if summary.rejected > len(summary.first_rejected):
            print(f"  and {summary.rejected - len(summary.first_rejected):,} more")


def _lines(summary: ScoreSummary) -> str:
    """Where the first rows without a score are."""
    more = ", …" if summary.not_scored > len(summary.first_not_scored) else ""
    if summary.sources > 1:
        return ", ".join(f"{path}:{line}" for path, line in summary.first_not_scored) + more
    shown = ", ".join(str(line) for _, line in summary.first_not_scored)
    return f"line{'s' if summary.not_scored > 1 else ''} {shown}{more}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
