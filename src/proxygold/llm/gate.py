"""How many requests are under way at once: what an endpoint that says "too many" leaves us."""

from __future__ import annotations

import asyncio
import time

__all__ = ["Gate"]


class Gate:
    """Lets requests through: fewer at once after a 429, one more after each round that went well."""

    def __init__(self, most: int) -> None:
        self.limit = self._most = most
        self._under_way = 0
        self._well = 0
        self._opens = self._slowed = 0.0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._opens - time.monotonic()))
            async with self._changed:
                await self._changed.wait_for(lambda: self._under_way < self.limit)
                if time.monotonic() >= self._opens:  # it may have been closed while this one waited for its turn
                    self._under_way += 1
                    return

    async def __aexit__(self, *error: object) -> None:
        async with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def slow_down(self, sent: float, wait: float) -> None:
        """Half as many at once, and none for `wait` seconds."""
        now = time.monotonic()
        self._opens = max(self._opens, now + wait)
        # Of all that were sent together, one refusal halves.
        if sent > self._slowed:
            self.limit, self._slowed, self._well = max(1, self.limit // 2), now, 0

    def went_well(self) -> None:
        self._well += 1
        if self._well >= self.limit < self._most:
            self.limit, self._well = self.limit + 1, 0
