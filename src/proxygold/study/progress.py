"""Progress of long work: bars and numbers on a terminal, nothing but warnings when the output is piped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from proxygold.records import Rollout
from proxygold.study.live import TrainingView, sample_answers

__all__ = ["Advance", "OnStep", "StudyProgress"]

# advance(1) or advance(1, "reward 0.21"): work done since the last call, and a word on how it goes.
Advance = Callable[..., None]
# Called with each line of a training's log.
OnStep = Callable[[dict[str, Any]], None]


class StudyProgress:
    """Shows what a study is doing. `console` is where; one that is no terminal shows nothing."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._pace = deque[float](maxlen=10)  # seconds of the last steps of training, whatever was trained

    def say(self, text: str) -> None:
        """A line that stays, on a terminal."""
        if self.console.is_terminal:
            self.console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """A line that matters even to one who pipes the output to a file."""
        self.console.print(f"warning: {text}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def training(
        self,
        label: str,
        until: int,
        later: int = 0,
        past: Callable[[], Iterable[Mapping[str, Any]]] = list,
    ) -> Iterator[OnStep]:
        """A live view of a training, as long as the block lasts, of the steps that it is given.

        `until`: the training's last step. `later`: the steps of the trainings after it. `past` reads its log so far.
        """
        if not self.console.is_terminal:
            yield lambda record: None
            return
        view = TrainingView(label, until, later, past(), self._pace)
        with Live(view, console=self.console, transient=True, refresh_per_second=2):
            yield view.add

    def answers(self, label: str, step: int, rollouts: Sequence[Rollout]) -> None:
        """Two of the answers at a validation, which stay on the terminal."""
        if self.console.is_terminal:
            self.console.print(sample_answers(label, step, rollouts))

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
