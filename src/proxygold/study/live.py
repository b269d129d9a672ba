"""What a terminal shows of a training while it runs, and of the answers at a validation.

Every number is of the training log.
"""

from __future__ import annotations

import math
import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from proxygold.records import Prompt, Rollout

__all__ = ["TrainingView", "sample_answers"]

# Steps that the trends show, and those that the means are taken from.
_TREND, _RECENT = 32, 10
_BARS = "▁▂▃▄▅▆▇█"
# Characters of a prompt and of a completion.
_PROMPT, _COMPLETION = 160, 480


class TrainingView:
    """A training at a glance, from the lines of its log: `add` each, and print the view.

    `until`: its last step. `later`: the steps of other trainings that come after it. `past`: what is logged already.
    `pace`: the seconds of the last steps of this process, which are added to; those of another process, in the log, say
    nothing of how quick this one is.
    """

    def __init__(
        self,
        label: str,
        until: int,
        later: int = 0,
        past: Iterable[Mapping[str, Any]] = (),
        pace: deque[float] | None = None,
    ) -> None:
        self.label, self.until, self.later = label, until, later
        self._records: deque[Mapping[str, Any]] = deque(past, maxlen=_TREND)
        self._pace = deque[float](maxlen=_RECENT) if pace is None else pace

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in the line of a step."""
        self._records.append(record)
        seconds = _value(record, ("seconds", "total"))
        if math.isfinite(seconds):
            self._pace.append(seconds)

    @property
    def step(self) -> int:
        return int(self._records[-1]["step"]) if self._records else 0

    def seconds_left(self, steps: int) -> float | None:
        """How long so many steps take at the pace of the last ones; None until there is one."""
        return steps * sum(self._pace) / len(self._pace) if self._pace else None

    def __rich__(self) -> RenderableType:
        return Group(self._head(), self._numbers()) if self._records else self._head()

    def _head(self) -> RenderableType:
        left = f"left {_clock(self.seconds_left(self.until - self.step))}"
        if self.later:
            left += f", all {_clock(self.seconds_left(self.until - self.step + self.later))}"
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.until, completed=self.step, width=24)
        line.add_row(Text(self.label, style="bold"), bar, f"{self.step}/{self.until}", Text(left, style="dim"))
        return line

    def _numbers(self) -> RenderableType:
        last = self._records[-1]
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("")
        table.add_column("step", justify="right")
        table.add_column(f"mean of {min(_RECENT, len(self._records))}", justify="right")
        table.add_column(f"last {len(self._records)} steps", no_wrap=True)
        table.add_column("", overflow="fold")
        self._row(table, "reward", ("reward",), f"± {_number(last.get('reward_std'))}")
        for part in last.get("parts", {}):
            self._row(table, f"  {_plain(part)}", ("parts", part), "")
        coefficient = last.get("kl_coef")
        self._row(table, "KL", ("kl",), "" if coefficient is None else f"nats, coefficient {_number(coefficient)}")
        self._row(table, "entropy", ("entropy",), "")
        shortest, longest, ended = (_value(last, (name,)) for name in ("tokens_min", "tokens_max", "eos_share"))
        lengths = f"{_number(shortest)} to {_number(longest)}, {_number(100 * ended)}% ended"
        self._row(table, "tokens", ("tokens",), lengths)
        phases = (f"{name} {_number(value)}" for name, value in last.get("seconds", {}).items() if name != "total")
        self._row(table, "seconds", ("seconds", "total"), ", ".join(phases))
        if last.get("nan_rewards"):
            table.add_row("without a reward", str(len(last["nan_rewards"])), "", "", "")
        return table

    def _row(self, table: Table, name: str, place: Sequence[str], note: str) -> None:
        values = [_value(record, place) for record in self._records]
        known = [value for value in values[-_RECENT:] if math.isfinite(value)]
        if math.isfinite(values[-1]) or known:
            mean = sum(known) / len(known) if known else math.nan
            table.add_row(Text(name), _number(values[-1]), _number(mean), _trend(values), Text(note, style="dim"))


def sample_answers(label: str, step: int, rollouts: Sequence[Rollout]) -> RenderableType:
    """Two of the answers at a validation, to the same prompts each time: an open- and a closed-ended one, if any."""
    firsts = {row.query_type: row for row in reversed(rollouts)}
    chosen = sorted(firsts.values(), key=rollouts.index)[:2]
    chosen = chosen if len(chosen) == 2 else list(rollouts[:2])
    head = f"{label}, step {step}: {len(chosen)} of {len(rollouts)} answers"
    lines: list[RenderableType] = [Text(head, style="bold")]
    for row in chosen:
        told = f"{row.tokens} tokens" if row.finished else f"{row.tokens} tokens, cut off"
        lines.append(Text(f"> {_cut(_last_user_text(row.prompt), _PROMPT)}", style="dim"))
        lines.append(Text.assemble(_cut(row.completion, _COMPLETION), (f"  [{told}]", "dim")))
    return Group(*lines)


def _last_user_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])


def _cut(text: str, length: int) -> str:
    one_line = " ".join(_plain(text).split())
    return one_line if len(one_line) <= length else f"{one_line[: length - 1]}…"


def _plain(text: str) -> str:
    """Without control characters: what a policy writes must not steer the terminal."""
    return "".join(" " if unicodedata.category(character) in ("Cc", "Cf") else character for character in text)


def _value(record: Mapping[str, Any], place: Sequence[str]) -> float:
    value: Any = record
    for name in place:
        value = value.get(name) if isinstance(value, Mapping) else None
    return math.nan if value is None else float(value)


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _trend(values: Sequence[float]) -> str:
    """A character a value: the lowest and the highest are the lowest and the highest bar."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values)


def _clock(seconds: float | None) -> str:
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))
