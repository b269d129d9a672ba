"""The one process of `math_worker.py` that this process keeps, started when it is needed and again when it died."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from proxygold.errors import RewardError

__all__ = ["same_answers"]

_WORKER = Path(__file__).with_name("math_worker.py")
# A comparison has 4 seconds of processor time at most; this is for a machine that hardly gives it any.
_LONGEST_WAIT = 300.0


class _Worker:
    """A running worker; `pid` is that of the process that started it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            # -P: not with its own directory as a place of modules, where `bleu` and `toxicity` would be found.
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for this process; the worker ends when its input does
        )
        try:
            self._wait_until_ready()
        except BaseException:  # Ctrl-C, too, must leave none behind
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        said = ""
        while (character := self._read()) not in ("", "\n"):
            said += character
        if said != "ready":
            raise RewardError(
                f"math_match needs math_verify, which cannot be used here ({said or 'its process ended at once'}). "
                "Run: pip install 'proxygold[features]'"
            )

    def compare(self, reference: str, answer: str) -> tuple[bool | None, bool]:
        """Whether they are equal, None when the reference cannot be read; and whether that is certain.

        A comparison that took too much and was ended is certainly not equal. It is not certain when the worker died of
        something else: of the machine's want of memory, say.
        """
        try:
            self._write(json.dumps([reference, answer]) + "\n")
            if (said := self._read()) != "r":
                return None, said == "u" or self._ended_by_its_limit
            said = self._read()
            return said == "1", said != "" or self._ended_by_its_limit
        except BrokenPipeError:
            self.stop()
            return None, False

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def _ended_by_its_limit(self) -> bool:
        return self._process.returncode == -signal.SIGPROF

    def stop(self) -> None:
        """End the worker, whatever it is at."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def _read(self) -> str:
        """One character, or nothing when the worker has ended or does not answer: then it is no more."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        waiting = select.poll()  # not select.select, which knows 1,024 open files only
        waiting.register(descriptor, select.POLLIN)
        character = os.read(descriptor, 1).decode() if waiting.poll(1000 * _LONGEST_WAIT) else ""
        if not character:
            self.stop()
        return character


_worker: _Worker | None = None
_lock = threading.Lock()


def same_answers(pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
    """Whether each answer equals its reference, for n pairs of (reference, answer). None: the reference is unreadable.

    Threads take turns. Raises RewardError when math-verify is not installed.
    """
    results = []
    for pair in pairs:
        with _lock:
            result, certain = _compare(*pair)
            if not certain:  # once more, with a new worker; what kills two is the pair's own fault
                result, _ = _compare(*pair)
        results.append(result)
    return results


def _compare(reference: str, answer: str) -> tuple[bool | None, bool]:
    global _worker
    if _worker is None or not _worker.alive:
        _worker = _Worker()
    try:
        return _worker.compare(reference, answer)
    except BaseException:
        # Ctrl-C in the middle: an answer that nobody reads would be taken for the next pair's.
        _worker.stop()
        raise


def _stop() -> None:
    if _worker is not None and _worker.pid == os.getpid():
        _worker.stop()


def _forget() -> None:
    """After a fork: worker and pipes are the parent's, and the lock may be held by a thread that is not here."""
    global _worker, _lock
    _worker, _lock = None, threading.Lock()


atexit.register(_stop)
os.register_at_fork(after_in_child=_forget)
