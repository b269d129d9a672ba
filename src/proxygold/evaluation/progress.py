"""What a benchmark tells while it runs: bars on a terminal, and warnings wherever the output goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["EvalProgress"]


class EvalProgress:
    """Progress on `console`: standard error if that is None. One that is no terminal shows no bars."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    def say(self, text: str) -> None:
        """A line that stays, on a terminal."""
        if self.console.is_terminal:
            self.console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """A line that matters even to one who pipes the output to a file."""
        self.console.print(f"warning: {text}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def track(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar for `total` units of work, as long as the block lasts. What it gives takes the units done since."""
        columns = (
            TextColumn("{task.description:<30}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(label, total=total)

            def advance(done: int = 1) -> None:
                bar.update(task, advance=done)

            yield advance
