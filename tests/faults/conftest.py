"""The command in a process of its own, and disks that are full."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

PROXYGOLD = Path(sys.executable).with_name("proxygold")
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

    def run(*arguments: object, cwd: Path, file_limit: int | None = None) -> subprocess.CompletedProcess[str]:
        with _full_disk(file_limit):  # which the process inherits
            return subprocess.run(
                [str(PROXYGOLD), *map(str, arguments)],
                cwd=cwd,
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )

    return run
