"""What a check found: ok, something to know (warn), something to mend (FAIL), or that it could not tell (skip)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["FAIL", "OK", "SKIP", "WARN", "CheckReport", "Finding", "Outcome", "Status", "fail", "ok", "warn"]

Status = Literal["ok", "warn", "FAIL", "skip"]
OK: Status = "ok"
WARN: Status = "warn"
FAIL: Status = "FAIL"
SKIP: Status = "skip"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check's answer: `seen` says what happened, `remedy` what to do about it, "" when nothing is to be done."""

    status: Status
    seen: str
    remedy: str = ""


def ok(seen: str) -> Outcome:
    return Outcome(OK, seen)


def warn(seen: str, remedy: str) -> Outcome:
    return Outcome(WARN, seen, remedy)


def fail(seen: str, remedy: str) -> Outcome:
    return Outcome(FAIL, seen, remedy)


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome under the name of its check."""

    check: str
    status: Status
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings on one reward. `line` is what was checked, every `match` measured; `examples`: ordinary answers."""

    line: str
    reward_id: str | None
    examples: int
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return self.count(FAIL)

    def count(self, status: Status) -> int:
        return Counter(finding.status for finding in self.findings)[status]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self) | {"failed": self.failed, "warned": self.count(WARN)}
