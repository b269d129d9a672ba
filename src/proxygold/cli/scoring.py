"""What `score` shows: rows and rate while it works, on a terminal, and what was written when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from proxygold.rewards.runtime import Reward
from proxygold.rewards.score_file import ScoreSummary

__all__ = ["print_summary", "row_progress"]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} rows/s")


@contextmanager
def row_progress(data: Path) -> Iterator[Callable[[int], None]]:
    """A bar over the rows of `data` on standard error, if that is a terminal; nothing otherwise."""
    from proxygold.data.files import count_rows

    console = Console(stderr=True)
    if not console.is_terminal or not data.is_file():
        yield lambda rows: None
        return
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("scoring", total=count_rows(data))
        yield lambda rows: bar.advance(task, rows)


def print_summary(summary: ScoreSummary, reward: Reward) -> None:
    """Say what was written and where, and how many rows have no score or were rejected, and why."""
    rows = summary.scored + summary.not_scored
    print(f"wrote {summary.written}: {_count(rows, 'row')}, {summary.scored:,} scored by {reward}")
    if summary.not_scored:
        lines = _lines(summary.first_not_scored, summary.not_scored)
        print(f"{_count(summary.not_scored, 'row')} without a score ({lines}):")
        for reason, count in summary.reasons.most_common(5):
            print(f"  {count:,} x {reason}")
    if summary.rejected:
        print(f"{_count(summary.rejected, 'row')} rejected, listed in {summary.rejected_file}:")
        for row in summary.first_rejected:
            print(f"  {row}")
        if summary.rejected > len(summary.first_rejected):
            print(f"  and {summary.rejected - len(summary.first_rejected):,} more")


def _lines(first: list[int], total: int) -> str:
    shown = ", ".join(str(line) for line in first)
    return f"line{'s' if total > 1 else ''} {shown}{', …' if total > len(first) else ''}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
