"""A task in several processes at once, joined as a launcher would join them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from typing import Any


def in_processes(count: int, task: Callable[[Any], Any], *, timeout: float = 600, **environment: str) -> list[Any]:
    """What `task` returns in each of `count` processes that call it with their `Processes`, in the order of ranks.

    They are forks of this process, so that nothing is loaded again and `task` may be any closure. `environment` is what
    the launcher's configuration sets beside.
    """
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started, results = [], []
    for rank in range(count):
        told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **environment}
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(told, task, theirs), daemon=True)
        process.start()
        theirs.close()
        started.append((process, mine))
    try:
        for rank, (_, end) in enumerate(started):
            assert end.poll(timeout), f"process {rank} does not answer"
            results.append(pickle.loads(end.recv_bytes()))
    finally:
        for process, _ in started:
            process.join(timeout if len(results) == count else 0)
            process.kill()
    failed = [trouble for trouble, _ in results if trouble]
    assert not failed, failed[0]
    return [value for _, value in results]


def _run(told: dict[str, str], task: Callable[[Any], Any], out: Any) -> None:
    from accelerate.state import AcceleratorState, PartialState

    from proxygold.training.processes import start_processes

    os.environ |= told
    # An earlier test of this process may have trained with TRL, alone.
    AcceleratorState._reset_state(True)
    PartialState._reset_state()
    try:
        with start_processes() as processes:
            done = (None, task(processes))
            # Not `send`, which would hand tensors over in shared memory that ends with this process.
            out.send_bytes(pickle.dumps(done))
    except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
        out.send_bytes(pickle.dumps((traceback.format_exc(), None)))
