"""A server on loopback that speaks the chat-completions protocol of OpenAI, as well or as badly as a test asks."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Response:
    """What goes back. `delay`: seconds before it does; `drop`: the connection is cut instead."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay: float = 0.0
    drop: bool = False


def completion(
    text: str | None, *, refusal: str | None = None, finish: str = "stop", usage: tuple[int, int] | None = (100, 2)
) -> Response:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion",
        "created": 0,
        "model": "tester-2026-01-01",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Response(body=json.dumps(body).encode())


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> Response:
    body = {"error": {"message": message, "type": "t", "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


class ChatServer:
    """`answer(text, attempt)` decides: the last message's text, and how often it came, from 1. Records what came."""

    def __init__(self, answer: Callable[[str, int], Response]) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.under_way: list[int] = []
        self._now = 0
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def texts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with self._lock:
            self.bodies.append(body)
            self.keys.append(handler.headers.get("Authorization"))
            self.times.append(time.monotonic())
            self._seen[text] += 1
            attempt = self._seen[text]
            self._now += 1
            self.under_way.append(self._now)
        response = self.answer(text, attempt) if handler.path == "/v1/chat/completions" else error(404)
        time.sleep(response.delay)
        with self._lock:
            self._now -= 1
        if response.drop:
            handler.close_connection = True
            return
        try:
            handler.send_response(response.status)
            for name, value in response.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(response.body)))
            handler.end_headers()
            handler.wfile.write(response.body)
        except (BrokenPipeError, ConnectionResetError):  # the client had no patience left
            handler.close_connection = True
