"""What every request passes before anything reads it: the key, the size of its body, and the counting."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Gate"]

_log = logging.getLogger(__name__)

# Asked by whoever starts and watches the server, and telling nothing but that it runs.
_OPEN = "/health"

Observe = Callable[[str, int, float], None]


class Gate:
    """ASGI middleware. `observe` is told path, status and seconds of every request.

    A key is taken as a bearer token, or as the password of basic authentication with any user, which is how clients
    that know no tokens (OpenRLHF, a browser) send it: http://any:KEY@host:port/get_reward.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, max_body_bytes: int, observe: Observe) -> None:
        self.app = app
        self.api_key = api_key
        self.max_body_bytes = max_body_bytes
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0  # none yet

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, watched_send)
        except Exception as error:
            if status:
                raise
            # Answered here, not by the server, which would close the connection in the face of the next request.
            _log.exception("%s %s failed", scope["method"], scope["path"])
            words = f"the reward failed with {type(error).__name__}. The server's own output has the traceback."
            await _problem(500, words)(scope, receive, watched_send)
        finally:
            self.observe(scope["path"], status, time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self.api_key is not None and scope["path"] != _OPEN and not self._knows_key(headers.get("authorization")):
            answer = _problem(
                401,
                "this server needs its key: send the header `Authorization: Bearer KEY`, or the key as the password "
                "of basic authentication.",
                {"WWW-Authenticate": 'Bearer realm="proxygold", Basic realm="proxygold"'},
            )
            await answer(scope, receive, send)
            return
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            await _problem(413, self._too_large(f"{int(length):,}"))(scope, receive, send)
            return
        await self.app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        """The body as it comes, up to the limit: its length need not have been said before."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise HTTPException(413, self._too_large(f"more than {self.max_body_bytes:,}"))
            return message

        return counted

    def _too_large(self, given: str) -> str:
        return (
            f"the request has {given} bytes; at most {self.max_body_bytes:,} are allowed. Send fewer examples at a "
            "time, or start the server with a larger --max-body-mb."
        )

    def _knows_key(self, authorization: str | None) -> bool:
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given.strip(), validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        elif scheme.lower() != "bearer":
            return False
        # Takes equally long wherever the first difference is.
        return hmac.compare_digest(given.strip().encode(), (self.api_key or "").encode())


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)
