"""Another process: whether the reward comes through pickling, and gives there what it gives here.

Trainers score in workers that are started anew. The process is a fresh Python whose texts hash otherwise
(PYTHONHASHSEED), given the pickled reward and this process's sys.path, as multiprocessing's spawn does.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.records import Example, FloatArray
from proxygold.rewards.checks.comparing import agreement
from proxygold.rewards.checks.finding import Outcome, fail, ok
from proxygold.rewards.runtime import Reward

if TYPE_CHECKING:
    from proxygold.rewards.checks.subject import Subject

__all__ = ["CHILD_ROWS", "Child", "ChildAnswer", "another_process", "pickling", "stable_id"]

CHILD_ROWS = 32

_IN_A_FILE = "Define the feature at the top of a Python file, and give that file: --plugin FILE.py or plugins=[...]."


@dataclass(frozen=True, slots=True)
class ChildAnswer:
    """What the other process said: `trouble` if it could not score, and otherwise scores, name and id."""

    trouble: str | None = None
    total: FloatArray | None = None
    name: str = ""
    reward_id: str = ""


class Child:
    """A process that scores examples with a copy of the reward, while this one goes on. To be closed."""

    def __init__(self, reward: Reward, examples: Sequence[Example], patience: float) -> None:
        """`patience`: the seconds that `answer` waits."""
        self._patience = patience
        self._examples = len(examples)
        self._directory = tempfile.TemporaryDirectory(prefix="proxygold-check-")
        self._process: subprocess.Popen[bytes] | None = None
        self._unpicklable = ""
        try:
            pickled = pickle.dumps(reward)
        except Exception as error:  # noqa: BLE001 - whatever a user's object raises is what there is to say
            self._unpicklable = f"it cannot be pickled: {type(error).__name__}: {error}"
            return
        self._file("asked").write_bytes(pickle.dumps((list(sys.path), pickled, pickle.dumps(list(examples)))))
        seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        command = (sys.executable, "-m", "proxygold.rewards.checks.child", self._file("asked"), self._file("answered"))
        with self._file("said").open("wb") as said:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONHASHSEED": seed},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    @cached_property
    def answer(self) -> ChildAnswer:
        """What it found, waited for."""
        if self._process is None:
            return ChildAnswer(self._unpicklable)
        try:
            code = self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            return ChildAnswer(f"it did not score {self._examples} answers in {self._patience:.0f} s")
        if not self._file("answered").exists():
            said = self._file("said").read_text(errors="replace").strip().splitlines()
            return ChildAnswer(f"it ended with {code}: {said[-1] if said else 'it said nothing'}")
        answer: dict[str, Any] = pickle.loads(self._file("answered").read_bytes())
        return ChildAnswer(**answer)

    def close(self) -> None:
        """End the process, if it has not ended, and remove its files."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()

    def _file(self, name: str) -> Path:
        return Path(self._directory.name, name)


def pickling(subject: Subject) -> Outcome:
    """Pickled and read back, here and in another process, it is the same reward."""
    reward = subject.reward
    try:
        again = pickle.loads(pickle.dumps(reward))
    except Exception as error:  # noqa: BLE001 - as above
        return fail(f"{type(error).__name__}: {error}", _IN_A_FILE)
    if again != reward or again.__name__ != reward.__name__:
        return fail(f"{reward!r} came back as {again!r}", "Give the feature's file in plugins=, nothing else.")
    if subject.child.answer.trouble is not None:
        return fail(f"in another process: {subject.child.answer.trouble}", _IN_A_FILE)
    return ok("came back the same, here and in another process")


def another_process(subject: Subject) -> Outcome:
    """A process whose texts hash otherwise gives the same scores."""
    examples = subject.rows(subject.few(CHILD_ROWS))
    there = subject.child.answer.total
    if there is None:
        return fail(f"{subject.child.answer.trouble}", _IN_A_FILE)
    return agreement(
        subject.reward.score(examples).total,  # in the same batch
        there,
        examples,
        ("here", "there"),
        "Use neither hash() nor the order of a set, and nothing that this process alone knows: sort, or use hashlib.",
    )


def stable_id(subject: Subject) -> Outcome:
    """`reward_id` and `__name__`, by which records say what scored them, are the same in another process."""
    reward, answer = subject.reward, subject.child.answer
    here, there = (reward.reward_id, reward.__name__), (answer.reward_id, answer.name)
    if here == there:
        return ok(here[0])
    return fail(
        f"{' '.join(here)} here, {' '.join(there)} there", "Let the feature's file, and the defaults in it, not change."
    )
