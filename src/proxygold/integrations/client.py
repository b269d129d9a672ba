"""A reward that is served elsewhere, used as if it were here.

    rer = RewardClient("http://127.0.0.1:8000")
    rer.score([Example(prompt="Where is Oslo?", completion="In Norway.")]).total
    GRPOTrainer(reward_funcs=rer, …)

Needs httpx and nothing heavy: the models are where the server is.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import httpx
import numpy as np

from proxygold.errors import ConfigError, RewardError
from proxygold.integrations.addresses import is_loopback
from proxygold.records import Example, Prompt, Scored
from proxygold.rewards.columns import Completion, examples_from_columns

__all__ = ["RewardClient"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds


class RewardClient:
    """Scores as the reward does that `proxygold serve` serves at `url`, and is a TRL reward function as it is.

    - `api_key`: the server's key; without it, what PROXYGOLD_API_KEY says, if anything.
    - `timeout`: seconds to wait for one answer.
    - `retries`: how often a request is tried again when the server cannot be reached or has too much waiting (503).

    Any number of examples is taken: they are sent in as many requests as the server's limits need. Safe for threads.
    Pickles without its connections; the key goes along.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 180.0, retries: int = 5) -> None:
        self.url = url.rstrip("/")
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in ("http", "https") or not address.host:
            raise ConfigError(f"{url!r} is no address of a server. Give one such as http://127.0.0.1:8000.")
        self._use_proxies = not is_loopback(address.host)  # a proxy from the environment reaches its own loopback only
        self.timeout = timeout
        self.retries = retries
        self._api_key = api_key or os.environ.get("PROXYGOLD_API_KEY")
        self._connections: tuple[int, httpx.Client] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RewardClient({self.url!r})"

    def __str__(self) -> str:
        return str(self._card["reward"])

    @property
    def reward_id(self) -> str:
        """The served reward's, as it was when it was first asked for."""
        return str(self._card["reward_id"])

    @property
    def required_columns(self) -> frozenset[str]:
        """The columns, besides prompt and completion, that data for this reward must have."""
        return frozenset(self._card["required_columns"])

    @property
    def __name__(self) -> str:
        """The reward's own name for logs, marked as served: the same reward may be used here too."""
        return f"{self._card['name']}_served"

    def score(self, examples: Iterable[Example]) -> Scored:
        """Score n examples, as `Reward.score` does.

        Raises RewardError with the server's words when it refuses them or fails, and when it cannot be reached;
        ConfigError when it wants another key. Nothing is known then of any example.
        """
        rows: list[dict[str, Any]] = []
        for body in self._bodies(list(examples)):
            rows.extend(self._ask("POST", "/score", body)["scores"])
        return Scored(
            total=_column([row["total"] for row in rows]),
            parts={name: _column([row["parts"][name] for row in rows]) for name in (rows[0]["parts"] if rows else ())},
            reasons=tuple(row["reason"] for row in rows),
        )

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        completion_ids: object = None,
        trainer_state: object = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """TRL's call, as `Reward` takes it: one float a completion, None where it cannot be computed."""
        scored = self.score(examples_from_columns(prompts, completions, columns, self.required_columns))
        for leaf in self._card["leaves"] if scored.parts else ():
            values, name = scored.parts[leaf], f"{self.__name__}/{leaf}"
            if log_extra is not None:
                log_extra(name, _with_none(values.tolist()))
            if log_metric is not None and np.isfinite(values).any():
                log_metric(name, float(np.nanmean(values)))
        if log_metric is not None and scored.reasons:
            failed = sum(reason is not None for reason in scored.reasons)
            log_metric(f"{self.__name__}/not_scored", failed / len(scored.reasons))
        return _with_none(scored.total.tolist())

    def close(self) -> None:
        """Give the connections back. Another call opens new ones."""
        with self._lock:
            if self._connections is not None and self._connections[0] == os.getpid():
                self._connections[1].close()
            self._connections = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.url, self._api_key, self.timeout, self.retries)

    # --- asking -------------------------------------------------------------------------------------------

    @cached_property
    def _card(self) -> dict[str, Any]:
        return self._ask("GET", "/reward")

    def _bodies(self, examples: Sequence[Example]) -> Iterator[bytes]:
        """Requests that hold all the examples, in order, each within the server's limits where an example allows it."""
        if not examples:
            return
        limits = self._card["limits"]
        batch: list[bytes] = []
        size = 0
        for place, example in enumerate(examples):
            text = _as_json(example, place)
            # The brackets around, and the comma before each example.
            if batch and (len(batch) == limits["examples"] or size + len(text) + 20 > limits["body_bytes"]):
                yield b'{"examples":[' + b",".join(batch) + b"]}"
                batch, size = [], 0
            batch.append(text)
            size += len(text) + 1
        yield b'{"examples":[' + b",".join(batch) + b"]}"

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        pause = _FIRST_PAUSE
        for tries_left in range(self.retries, -1, -1):
            try:
                answer = self._client().request(method, self.url + path, content=body)
            except httpx.TransportError as error:
                # A request that took too long would take as long again, and add to what the server has to do.
                if isinstance(error, httpx.ReadTimeout) or not tries_left:
                    raise RewardError(self._unreachable(error)) from error
                wait = pause
            else:
                if answer.status_code == 200:
                    return self._read(answer)
                if answer.status_code != 503 or not tries_left:
                    raise self._refusal(answer)
                wait = max(pause, _seconds(answer.headers.get("retry-after")))
            time.sleep(min(wait, _LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("the last try returns or raises")

    def _client(self) -> httpx.Client:
        with self._lock:
            # A forked process must not write into its parent's connections.
            if self._connections is None or self._connections[0] != os.getpid():
                headers = {"Content-Type": "application/json"}
                if self._api_key is not None:
                    headers["Authorization"] = f"Bearer {self._api_key}"
                # Many threads may ask at once: none shall wait for another's connection.
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
                client = httpx.Client(headers=headers, timeout=self.timeout, limits=limits, trust_env=self._use_proxies)
                self._connections = os.getpid(), client
            return self._connections[1]

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            read = answer.json()
        except ValueError:
            read = None
        if not isinstance(read, dict):
            raise RewardError(f"what answers at {self.url} is no proxygold server: {answer.text[:80]!r}.")
        return read

    def _refusal(self, answer: httpx.Response) -> ConfigError | RewardError:
        try:
            words = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            words = answer.text[:200] or answer.reason_phrase
        kind = ConfigError if answer.status_code == 401 else RewardError
        return kind(f"the server at {self.url} answered {answer.status_code}: {words}")

    def _unreachable(self, error: httpx.TransportError) -> str:
        if isinstance(error, httpx.ReadTimeout):
            return f"the server at {self.url} gave no answer in {self.timeout:g} seconds. Give a longer timeout."
        return (
            f"the server at {self.url} cannot be reached: {str(error) or type(error).__name__}. Is `proxygold serve` "
            f"running there? Tried {self.retries + 1} times."
        )


def _restore(url: str, api_key: str | None, timeout: float, retries: int) -> RewardClient:
    return RewardClient(url, api_key=api_key, timeout=timeout, retries=retries)


def _as_json(example: Example, place: int) -> bytes:
    values = {
        **example.columns,
        "prompt": example.prompt,
        "completion": example.completion,
        "reference": example.reference,
        "query_type": example.query_type,
    }
    try:
        return json.dumps(values, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise RewardError(
            f"example {place} cannot be sent to the server as JSON: {error}. Leave out the columns that the reward "
            "does not need, or make them numbers and text."
        ) from error


def _column(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _with_none(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def _seconds(header: str | None) -> float:
    """What Retry-After asks for, where it is a number of seconds."""
    return float(header) if header is not None and header.isdecimal() else 0.0
