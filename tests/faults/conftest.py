"""The command in a process of its own, and disks that are full."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

import command_line

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@contextmanager
def _full_disk(file_limit: int | None) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int | None], AbstractContextManager[None]]:
    """Within it no file may grow past so many bytes: what a full disk looks like to a program. None is no limit."""
    return _full_disk


@pytest.fixture(scope="session")
def proxygold() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `proxygold`, as a user does."""
    return partial(command_line.run, env=ENVIRONMENT)
