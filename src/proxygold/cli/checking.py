"""What `check` shows: the check at work, on a terminal, and the table when all are done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxygold.rewards.checks import FAIL, OK, SKIP, WARN, CheckReport

__all__ = ["check_progress", "print_report"]

_STYLES = {OK: "green", WARN: "yellow", FAIL: "bold red", SKIP: "dim"}


@contextmanager
def check_progress() -> Iterator[Callable[[str], None]]:
    """The name of the check at work, on standard error, if that is a terminal; nothing otherwise."""
    # The texts of the checks are meant to be odd: what would be said of them is in the table.
    logging.getLogger("proxygold.features").setLevel(logging.ERROR)
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name: None
        return
    with console.status("loading and scoring ordinary answers") as status:
        yield lambda name: status.update(f"checking: {name}")


def print_report(report: CheckReport, console: Console | None = None) -> None:
    """Print a row for each check, then how many are ok, to know and to mend."""
    console = console or Console()
    if console.is_terminal:
        console.print(Text.assemble((report.line, "bold"), f"  on {report.examples} answers"))
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for heading in ("check", "", "seen", "what to do"):
            table.add_column(heading, overflow="fold")
        for finding in report.findings:
            status = Text(finding.status, style=_STYLES[finding.status])
            table.add_row(Text(finding.check), status, Text(_printable(finding.seen)), Text(finding.remedy))
        console.print(table)
    else:
        console.file.write("check\tstatus\tseen\tremedy\n")
        for finding in report.findings:
            cells = (finding.check, finding.status, finding.seen, finding.remedy)
            console.file.write("\t".join(map(_printable, cells)) + "\n")
        console.file.flush()
        console = Console(stderr=True)
    console.print(Text(_summary(report), style=_STYLES[FAIL if report.failed else OK]), soft_wrap=True)


def _summary(report: CheckReport) -> str:
    counts = [f"{report.count(OK)} ok", _several(report.count(WARN), "warning"), f"{report.failed} failed"]
    if report.count(SKIP):
        counts.append(f"{report.count(SKIP)} skipped")
    return f"{len(report.findings)} checks of {report.line}: {', '.join(counts)}"


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _printable(text: str) -> str:
    """On one line, without what a terminal would act on or cannot show."""
    return "".join(character if character.isprintable() else " " for character in text)
