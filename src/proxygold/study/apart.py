"""Arms trained at the same time on one machine, each in a process of its own with its share of the cores.

For small models on a CPU: threads that wait for each other at every product lose much of what they could do, the more
so beside other work. With one thread each, two trainings of SmolLM2 on two cores wait for nothing.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from proxygold.errors import TrainingError
from proxygold.store import ArmDirectory
from proxygold.study.arms import train_arm
from proxygold.study.config import Study
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import StudyPrompts

if TYPE_CHECKING:
    from proxygold.rewards.runtime import Reward

__all__ = ["train_apart"]

_SECONDS = 1.0  # between two looks at how far they are


@dataclass(frozen=True, slots=True)
class _Task:
    """What a process is told."""

    arm: ArmDirectory
    reward: Reward
    study: Study
    prompts: StudyPrompts
    threads: int


def train_apart(
    arms: Sequence[tuple[ArmDirectory, Reward]], study: Study, prompts: StudyPrompts, jobs: int, progress: StudyProgress
) -> None:
    """Train the arms, `jobs` at a time, and have their prompts answered at their checkpoints.

    An error in one stops the others, as Ctrl-C does; what is written stays, and a run goes on from there. Raises the
    error, or TrainingError for a process that was killed.
    """
    import torch

    _give_back_memory()
    # Not those of the machine: OMP_NUM_THREADS, or whoever else set them, may have asked for fewer.
    threads = max(1, torch.get_num_threads() // jobs)
    waiting = [_Task(arm, reward, study, prompts, threads) for arm, reward in arms]
    running: list[tuple[_Task, Any, Any]] = []
    with progress.track("train", total=study.training.steps * len(arms)) as advance:
        done = 0
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(_start(waiting.pop(0)))
                multiprocessing.connection.wait([process.sentinel for _, process, _ in running], timeout=_SECONDS)
                steps = [_steps(arm) for arm, _ in arms]
                reached = ", ".join(f"{arm.reward} {step}" for (arm, _), step in zip(arms, steps, strict=True))
                advance(sum(steps) - done, reached)
                done = sum(steps)
                for entry in [entry for entry in running if not entry[1].is_alive()]:
                    running.remove(entry)
                    _check(*entry)
        finally:
            for _, process, _ in running:
                process.terminate()
            for _, process, _ in running:
                process.join()


def _give_back_memory() -> None:
    """Have the system take what the start policy held, which the heap keeps when it is freed: 0.6 of 1.1 GiB after
    SmolLM2. The processes to come need it."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another system's, or another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _start(task: _Task) -> tuple[_Task, Any, Any]:
    """A process that trains, and the end of a pipe out of which its error comes."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(task, theirs))
    with _deaf_to_interrupts():
        process.start()
    theirs.close()
    return task, process, mine


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """What is started inside does not hear Ctrl-C, which a terminal sends to all: the one who started it ends it."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _train(task: _Task, out: Any) -> None:
    import torch

    from proxygold.models.policy import Policy

    torch.set_num_threads(task.threads)
    try:
        policy = Policy.load(task.study.policy, seed=task.arm.seed)
        # A console that is no terminal: warnings are printed, and nothing else.
        progress = StudyProgress(Console(stderr=True, force_terminal=False))
        train_arm(task.arm, policy, task.reward, task.study, task.prompts, progress, 0)
    except Exception as error:  # noqa: BLE001 - whatever it is, the process that started this one raises it
        out.send(error)


def _check(task: _Task, process: Any, end: Any) -> None:
    """Raise what a process that has ended sent, or that it was killed."""
    process.join()
    try:
        if end.poll():
            raise end.recv()
    except EOFError:
        pass
    if process.exitcode:
        raise TrainingError(
            f"the process that trained {task.arm.reward} with seed {task.arm.seed} ended with {process.exitcode} "
            "before it was done; -9 mostly means that memory ran out. The same command goes on from the last "
            "checkpoint, with --jobs 1 in less memory."
        )


def _steps(arm: ArmDirectory) -> int:
    """How many steps the log of an arm has."""
    return arm.train_log.read_bytes().count(b"\n") if arm.train_log.exists() else 0
