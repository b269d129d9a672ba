"""A real server for each test that asks for one, and a client of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from proxygold import Reward
from proxygold.integrations.server import ServerSettings, create_app
from proxygold.integrations.server_process import bind, url_of


@contextmanager
def _serving(made: Reward, **settings: Any) -> Iterator[httpx.Client]:
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(made, ServerSettings(**settings)), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    url = url_of(listener)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[httpx.Client]]:
    """`serving(reward, **settings)`: a client of a server of its own, on loopback, for a `with` block."""
    return _serving
