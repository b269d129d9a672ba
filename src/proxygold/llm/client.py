"""Many requests to one endpoint: out of the cache, or asked with retries, within a cost limit."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from proxygold.errors import JudgeError, StoreError
from proxygold.llm.cache import Cache
from proxygold.llm.call import TooMany, Transient, call, open_client
from proxygold.llm.estimate import Estimate
from proxygold.llm.gate import Gate
from proxygold.llm.records import (
    LLMSettings,
    Refusal,
    Rejected,
    Reply,
    Spent,
    TransportError,
    UnparseableAnswer,
    estimate_tokens,
)
from proxygold.records import Message

__all__ = ["LLM"]

# Requests that failed in a row, each after its retries, and mean that the endpoint is gone.
_GONE_AFTER = 5
_LONGEST_DELAY = 60.0  # seconds between two tries, where the endpoint names none
_LONGEST_WAIT = 900.0  # seconds that one request waits between its tries in all

T = TypeVar("T")


class LLM:
    """Asks an endpoint. To be used as a context manager, from one thread."""

    def __init__(self, settings: LLMSettings) -> None:
        self.settings = settings
        self.spent = Spent(cost=settings.cost(0, 0))
        self._cache = None if settings.cache is None else Cache(settings.cache)
        self._runner = asyncio.Runner()
        self._client: Any = None
        # A request that waits for its next try keeps its turn, so that an endpoint that is gone is noticed soon.
        self._turns = asyncio.Semaphore(settings.concurrency)
        self._gate = Gate(settings.concurrency)
        self._budget = asyncio.Condition()
        self._reserved = 0.0  # the most that the requests under way may cost
        self._under_way = 0
        self._stopped: JudgeError | StoreError | None = None
        self._failed_in_a_row = 0
        self._answered = False

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._client is not None:
                self._runner.run(self._client.close())
        finally:
            self._runner.close()
            if self._cache is not None:
                self._cache.close()

    def key(self, messages: Sequence[Message], repeat: int = 0) -> str:
        """What a cached answer is filed under: a hash of endpoint, model, parameters and messages, and of `repeat`."""
        asked = [self.settings.endpoint(), self.settings.model, dict(self.settings.parameters), list(messages)]
        return hashlib.sha256(json.dumps(asked + [repeat] * bool(repeat), sort_keys=True).encode()).hexdigest()

    def is_cached(self, messages: Sequence[Message]) -> bool:
        """Whether this request has been answered already."""
        return self._kept(self.key(messages)) is not None

    def estimate(self, requests: Iterable[tuple[Sequence[Message], int]]) -> Estimate:
        """What it would take to ask these, each with its repeat, with what is in the cache already left out."""
        rows = tokens = answered = 0
        seen: set[str] = set()
        for messages, repeat in requests:
            rows += 1
            key = self.key(messages, repeat)
            if key in seen:
                continue
            seen.add(key)
            if self._kept(key) is not None:
                answered += 1
            else:
                tokens += estimate_tokens(messages)
        settings = self.settings
        longest = settings.most_tokens()
        most = None if longest is None else longest * (len(seen) - answered)
        return Estimate(
            settings.model,
            settings.endpoint(),
            rows,
            len(seen),
            answered,
            tokens,
            most,
            settings.cost(tokens, most or 0),
            settings.max_cost,
        )

    def ask_all(
        self,
        requests: Sequence[Sequence[Message]],
        parse: Callable[[Reply], T],
        done: Callable[[int], None] = lambda index: None,
    ) -> list[T | TransportError | Refusal | UnparseableAnswer]:
        """n answers, or what came instead of them, in the order asked; `done` is told the index of each as it comes.

        `parse` makes of a reply what is wanted, or raises UnparseableAnswer. Raises what `replies` raises.
        """

        def read(reply: Reply | TransportError) -> T | TransportError | Refusal | UnparseableAnswer:
            if isinstance(reply, TransportError):
                return reply
            if reply.refusal is not None:
                return Refusal(reply.refusal)
            try:
                return parse(reply)
            except UnparseableAnswer as problem:
                return problem

        return [read(reply) for reply in self.replies(requests, lambda index, reply: done(index))]

    def replies(
        self,
        requests: Sequence[Sequence[Message]],
        done: Callable[[int, Reply | TransportError], None] = lambda index, reply: None,
        *,
        repeats: Sequence[int] | None = None,
    ) -> list[Reply | TransportError]:
        """n replies, in the order asked; `done` is told each with its index as it comes.

        Equal requests are asked once, unless they differ in `repeats`. Raises JudgeError for what no retry can mend,
        with all answers so far in the cache, and StoreError when the cache cannot be written.
        """
        return self._runner.run(self._replies(requests, done, repeats or [0] * len(requests)))

    async def _replies(
        self,
        requests: Sequence[Sequence[Message]],
        done: Callable[[int, Reply | TransportError], None],
        repeats: Sequence[int],
    ) -> list[Reply | TransportError]:
        same: dict[str, list[int]] = {}
        for index, (messages, repeat) in enumerate(zip(requests, repeats, strict=True)):
            same.setdefault(self.key(messages, repeat), []).append(index)
        replies: dict[int, Reply | TransportError] = {}

        def take(reply: Reply | TransportError, indices: list[int]) -> None:
            for index in indices:
                replies[index] = reply
                done(index, reply)

        async def ask(key: str, indices: list[int]) -> None:
            try:
                reply = await self._reply(key, requests[indices[0]])
            except TransportError as problem:
                take(problem, indices)
            except (JudgeError, StoreError) as stop:
                # Those under way come to their end: they are paid for.
                self._stopped = self._stopped or stop
            else:
                take(reply, indices)

        for key in list(same):
            if (kept := self._kept(key)) is not None:
                self.spent.cached += 1
                take(kept, same.pop(key))
        self._stopped = None
        if same and self._client is None:
            self._client = open_client(self.settings)
        try:
            async with asyncio.TaskGroup() as tasks:
                for key, indices in same.items():
                    tasks.create_task(ask(key, indices))
        except ExceptionGroup as stopped:
            raise stopped.exceptions[0] from None
        if self._stopped is not None:
            raise self._stopped
        return [replies[index] for index in range(len(requests))]

    def _kept(self, key: str) -> Reply | None:
        return None if self._cache is None else self._cache.get(key)

    async def _reply(self, key: str, messages: Sequence[Message]) -> Reply:
        """An answer of the endpoint's, put into the cache."""
        async with self._turns, self._paid_for(messages):
            try:
                reply = await self._ask(messages)
            except TransportError as error:
                self._count_failure(error)
                raise
            self._failed_in_a_row, self._answered = 0, True
            self.spent.prompt_tokens += reply.prompt_tokens
            self.spent.completion_tokens += reply.completion_tokens
            self.spent.cost = self.settings.cost(self.spent.prompt_tokens, self.spent.completion_tokens)
            if self._cache is not None:
                self._cache.put(key, reply)
            return reply

    async def _ask(self, messages: Sequence[Message]) -> Reply:
        """As many tries as it takes. Being told to wait by a 429 is no failure, and counts only as time."""
        failures = limits = 0
        waited = 0.0
        while True:
            try:
                async with self._gate:
                    self._go_on()
                    sent = time.monotonic()
                    self.spent.calls += 1
                    reply = await call(self._client, self.settings, messages)
            except Transient as problem:
                if isinstance(problem, TooMany):
                    limits += 1
                else:
                    failures += 1
                if failures > self.settings.retries:
                    raise TransportError(f"{problem}, at try {failures} of {failures}") from problem
                delay = self._delay(failures + limits, problem.retry_after)
                waited += delay
                if waited > _LONGEST_WAIT:
                    raise TransportError(f"{problem}; to wait on would take {waited:.0f} s in all") from problem
                if isinstance(problem, TooMany):
                    self._gate.slow_down(sent, delay)
                await asyncio.sleep(delay)
            else:
                self._gate.went_well()
                return reply

    def _delay(self, tries: int, retry_after: float | None) -> float:
        """Seconds before the next try, never less than the endpoint asked for, and not all requests at once."""
        if retry_after:
            return retry_after * random.uniform(1.0, 1.1)
        longest: float = min(self.settings.first_delay * 2.0 ** (tries - 1), _LONGEST_DELAY)
        return longest * random.uniform(0.5, 1.0)

    @asynccontextmanager
    async def _paid_for(self, messages: Sequence[Message]) -> AsyncIterator[None]:
        """Set aside what a request may cost at most. Raises JudgeError when that would pass the limit.

        As long as others are under way, which mostly cost less than they might, it waits for them instead.
        """
        settings = self.settings
        most = settings.cost(estimate_tokens(messages), settings.most_tokens() or 0) or 0.0
        async with self._budget:
            while settings.max_cost is not None and self._reserved + most > settings.max_cost - (self.spent.cost or 0):
                self._go_on()
                if not self._under_way:
                    raise JudgeError(
                        f"stopped at the cost limit of {settings.max_cost:g}: {self.spent.cost or 0:.4g} is spent and "
                        f"the next request may cost {most:.4g}. What is answered is kept: the same command with a "
                        "higher limit goes on from there."
                    )
                await self._budget.wait()
            self._go_on()
            self._reserved += most
            self._under_way += 1
        try:
            yield
        finally:
            async with self._budget:
                self._under_way -= 1
                self._reserved = self._reserved - most if self._under_way else 0.0
                self._budget.notify_all()

    def _go_on(self) -> None:
        """Raises what stopped the run, if anything did."""
        if self._stopped is not None:
            raise self._stopped

    def _count_failure(self, error: TransportError) -> None:
        self._failed_in_a_row += 1
        rejected = isinstance(error, Rejected)
        # Once something was answered, a request that is rejected says more about itself than about the endpoint.
        if self._failed_in_a_row >= _GONE_AFTER and not (rejected and self._answered):
            raise JudgeError(
                f"{self.settings.endpoint()} failed {self._failed_in_a_row} requests in a row. The last: {error}\n"
                "Check the endpoint, the model and the parameters. What is answered is kept: the same command goes on "
                "from there."
            ) from error
