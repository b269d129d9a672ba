"""A process that compares answers with math-verify, run as a script by `math_process.py`: it can be killed.

sympy cannot be trusted with what a model writes: `9**9**9**9` is computed for ever, in C where no Python exception
gets through, or fills the memory. math-verify's own limit is a signal, which only the main thread of a process may
set. So the work is done here, in the main thread of a process with limits of its own:

- after `PATIENCE` seconds of processor time an exception ends a comparison that runs in Python;
- half a second later a signal ends the process, whatever it runs;
- more than `MEMORY` bytes are refused.

Processor time, not the clock: a busy machine changes no value. Of proxygold nothing is imported here.

Line by line, in: a JSON pair of texts, reference and answer. Out: "ready" once, or why not; then for each pair "u" when
the reference cannot be read, else "r", and "1" or "0" after it.
"""

import functools
import json
import logging
import resource
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

PATIENCE = 1.5
MEMORY = 2 << 30


class _OutOfTime(BaseException):
    """No Exception: sympy and math-verify swallow those."""


def _out_of_time(signal_number: int, frame: FrameType | None) -> None:
    raise _OutOfTime


def _limit_time(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, seconds and seconds + 0.5)  # its signal, not handled, ends the process


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    try:
        from math_verify import parse, verify
    except ImportError as error:
        _say(f"{error}\n")
        return
    logging.disable(logging.CRITICAL)  # it warns that its own limits are off
    with suppress(ValueError, OSError):  # a lower limit may be set already; some systems know none
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGVTALRM, _out_of_time)

    def read(text: str) -> list[Any]:
        try:
            found: list[Any] = parse(text, parsing_timeout=None)
        except (_OutOfTime, MemoryError, RecursionError):
            return []
        return found

    read(r"$\frac{1}{2}$")  # loads the grammar of LaTeX, which no comparison is to be charged for
    read_reference = functools.lru_cache(maxsize=4096)(read)
    _say("ready\n")
    for line in sys.stdin:
        reference, answer = json.loads(line)
        _limit_time(PATIENCE)
        expected = read_reference(reference)
        if not expected:
            _limit_time(0)
            _say("u")
            continue
        _say("r")
        _limit_time(PATIENCE)
        try:
            same = verify(expected, read(answer), timeout_seconds=None)
        except (_OutOfTime, MemoryError, RecursionError):
            same = False
        finally:
            _limit_time(0)
        _say("1" if same else "0")


if __name__ == "__main__":
    main()
