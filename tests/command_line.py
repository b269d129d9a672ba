"""`proxygold` as a user types it: a process of its own, forked from one that has the libraries loaded.

Starting Python and importing torch and transformers takes seconds, for each of a hundred commands. What is tested of
the start itself (what `--help` imports, say) takes `subprocess` instead.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "transformers", "sentence_transformers", "peft", "trl", "datasets"])


def run(
    *arguments: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    file_limit: int | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """What `proxygold ARGUMENTS` prints in `cwd`, and its exit code.

    `file_limit`: no file may grow past so many bytes, as on a full disk. A command that does not end in time is killed,
    and subprocess.TimeoutExpired raised.
    """
    words = [str(argument) for argument in arguments]
    _load()
    with tempfile.TemporaryDirectory() as directory:
        printed = [Path(directory, name) for name in ("stdout", "stderr")]
        told = dict(os.environ if env is None else env)
        child = _context.Process(target=_become, args=(words, cwd, told, printed, file_limit))
        child.start()
        child.join(timeout)
        if child.exitcode is None:
            child.kill()
            raise subprocess.TimeoutExpired(words, timeout)
        return subprocess.CompletedProcess(words, child.exitcode, *(path.read_text() for path in printed))


def _load() -> None:
    """Start the process that is forked, if it does not run yet. Libraries read some variables when they are loaded."""
    before = dict(os.environ)
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _become(words: list[str], cwd: Path, environment: dict[str, str], printed: list[Path], limit: int | None) -> None:
    """In the child: be the command, whose output goes to the files `printed`."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for descriptor, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    sys.argv = ["proxygold", *words]
    from proxygold.cli.main import main

    main()
