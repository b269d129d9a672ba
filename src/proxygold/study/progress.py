"""Progress of long work: a bar on a terminal, nothing when the output is piped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Advance", "StudyProgress"]

# advance(1) or advance(1, "reward 0.21"): work done since the last call, and a word on how it goes.
Advance = Callable[..., None]


class StudyProgress:
    """Shows what a study is doing. `console` is where; one that is no terminal shows nothing."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    def say(self, text: str) -> None:
        """A line that stays, on a terminal."""
        if self.console.is_terminal:
            self.console.print(text, highlight=False, markup=False)

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Advance]:
        """A bar for `total` units of work, as long as the block lasts."""
        columns = (
            TextColumn("{task.description:<30}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(description, total=total, note="")

            def advance(done: int = 1, note: str = "") -> None:
                bar.update(task, advance=done, note=note)

            yield advance
