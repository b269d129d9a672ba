"""The process that compares answers: whatever is compared, it comes back, to the one who asked."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxygold.features import math_process
from proxygold.features.math_process import same_answers


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        "9**9**9**9",  # in C, for ever
        r"\boxed{10^{10^{10}}}",
        r"\boxed{" + "{" * 900,  # deeper than the parser's stack, slowly
    ],
)
def test_nothing_hangs(answer: str) -> None:
    assert same_answers([("18", answer), ("18", "18")]) == [False, True]


@pytest.mark.slow
def test_a_reference_that_takes_for_ever_is_unreadable() -> None:
    assert same_answers([(r"\boxed{" + "{" * 900, "18"), ("1/2", "0.5")]) == [None, True]


def test_threads_get_their_own_answers() -> None:
    pairs = [(f"{n}/2", f"{n + n % 2}/2") for n in range(1, 41)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda pair: same_answers([pair])[0], pairs))
    assert results == [n % 2 == 0 for n in range(1, 41)]


def test_a_worker_that_was_killed_is_replaced() -> None:
    assert same_answers([("1/2", "0.5")]) == [True]
    before = math_process._worker
    assert before is not None
    os.kill(before._process.pid, signal.SIGKILL)
    assert same_answers([("1/2", "0.5"), ("1/2", "0.25")]) == [True, False]
    assert math_process._worker is not before


def test_a_forked_process_has_a_worker_of_its_own() -> None:
    assert same_answers([("1/2", "0.5")]) == [True]
    child = os.fork()
    if child == 0:
        # Exits at once, without what pytest would do.
        os._exit(0 if math_process._worker is None and same_answers([("1/3", "2/6")]) == [True] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same_answers([("1/2", "0.25")]) == [False]


def test_no_worker_is_left_behind_whatever_ends_its_process() -> None:
    code = textwrap.dedent(
        """
        import os, signal
        from proxygold.features import math_process
        assert math_process.same_answers([("1/2", "0.5")]) == [True]
        print(math_process._worker._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    worker = int(result.stdout)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if _state(worker) == "Z":  # ended, and nobody has asked for its status in this container
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("the worker goes on without its process")


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
