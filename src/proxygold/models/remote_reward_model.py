"""A reward model behind an HTTP endpoint, used as if it were here. `remote_forms.py` says what is sent and answered.

Several requests are under way at once, for servers like vLLM put them into one batch. What will pass (no connection, a
busy server) is tried again; what one example is refused for becomes that example's reason, and no other's; anything
else is a ModelError. Scores are the server's: whether they depend on what shares a batch is up to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from proxygold.errors import DataError, ModelError
from proxygold.models.remote_forms import Write, answer_of, body_of, is_sent_alone, written
from proxygold.models.reward_settings import CHAT, RewardModelSettings
from proxygold.records import Example, FloatArray

__all__ = ["API_KEY_VARIABLE", "RemoteRewardModel"]

API_KEY_VARIABLE = "PROXYGOLD_API_KEY"

_TIMEOUT = 180.0  # seconds for an answer
_TRIES = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds
_REQUESTS = 4  # under way at once, of several examples each
_PASSING = (408, 429, 500, 502, 503, 504)

_PROBES = (
    Example("What is the capital of Norway?", "The capital of Norway is Oslo."),
    Example("What is the capital of Norway?", "No no no no no no no no no no no no no no."),
)


class _RefusedError(Exception):
    """The server will not score what was sent, and says why."""


class RemoteRewardModel:
    """A reward model that a server scores with. Threads may share it. Made by `open_reward_model`.

    The key that the server asks for is what PROXYGOLD_API_KEY says. Raises ModelError when httpx is missing.
    """

    def __init__(self, settings: RewardModelSettings) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ModelError("a remote reward model needs httpx. Run: pip install 'proxygold[serve]'") from error
        self.name = settings.name
        self._settings = settings
        self._url = str(settings.url).rstrip("/")
        key = os.environ.get(API_KEY_VARIABLE)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_TIMEOUT,
            trust_env=not _is_loopback(self._url),  # a proxy of the environment reaches its own loopback only
        )

    def score(
        self, examples: Sequence[Example], progress: Callable[[int], None] | None = None
    ) -> tuple[FloatArray, tuple[str | None, ...]]:
        """Scores (n,) float64 and n reasons: None where the score is finite, else why it is NaN.

        `progress` is called with the number of examples scored so far. Raises ModelError when the endpoint is not to
        be reached, or gives what no reward model gives.
        """
        scores = np.full(len(examples), np.nan)
        reasons: list[str | None] = [None] * len(examples)
        texts: dict[int, Any] = {}
        for row, example in enumerate(examples):
            try:
                texts[row] = written(self._settings, self._write, example)
            except DataError as error:
                reasons[row] = str(error)
        done = len(examples) - len(texts)
        alone, rows = is_sent_alone(self._settings), list(texts)
        size = 1 if alone else self._settings.batch_size
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]

        def ask(batch: list[int]) -> list[tuple[float, str | None]]:
            return self._ask([texts[row] for row in batch], [examples[row] for row in batch])

        for batch, found in _at_once(ask, batches, self._settings.batch_size if alone else _REQUESTS):
            for row, (value, reason) in zip(batch, found, strict=True):
                scores[row], reasons[row] = value, reason
            done += len(batch)
            if progress is not None:
                progress(done)
        return scores, tuple(reasons)

    def check(self) -> None:
        """Score two examples. Raises ModelError when that fails, whatever the reason, or cannot tell them apart."""
        scores, reasons = self.score(_PROBES)
        for reason in filter(None, reasons):
            hint = ". That is a proxygold server, whose reward is at /get_reward" if self._is_proxygolds() else ""
            raise ModelError(f"the reward model at {self._url} does not score: {reason}{hint}.")
        # A reward of features may well give both the same; of a model it means that its numbers were squashed.
        if scores[0] == scores[1] and self._settings.form != "get_reward":
            raise ModelError(
                f"the reward model at {self._url} gives {scores[0]} to two answers of which one is nonsense. If the "
                "server is a vLLM that knows no use_activation, it gives probabilities of a single class: use a newer "
                "one, or /pooling."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of what is asked for and of what the server says that it serves. The address is no part of it."""
        settings = self._settings
        asked = {"form": settings.form, "model": settings.model, "template": settings.template}
        limits = {"max_length": settings.max_length, "tokenizer": settings.tokenizer}
        return hashlib.sha256(json.dumps([asked, limits, self._served], sort_keys=True).encode()).hexdigest()

    @cached_property
    def _write(self) -> Write | None:
        """What writes a conversation by a tokenizer's chat template; None where that is not asked for."""
        settings = self._settings
        if settings.template != CHAT:
            return None
        from proxygold.models.chat_text import chat_writer

        return chat_writer(settings.tokenizer or settings.model)

    def _is_proxygolds(self) -> bool:
        """Whether `proxygold serve` answers, whose own /score is another than vLLM's."""
        return self._settings.form != "get_reward" and "reward_id" in (self._get("reward") or {})

    def _get(self, name: str) -> dict[str, Any] | None:
        """What the server answers beside the address that it scores at; None where it knows nothing there."""
        base = self._url.rpartition("/")[0].removesuffix("/v1")
        answer: dict[str, Any] | None = self._try(lambda: self._client.get(f"{base}/{name}"), or_none=True)
        return answer

    @cached_property
    def _served(self) -> Any:
        """What the server says of the model behind it; None where it says nothing (OpenRLHF's)."""
        if self._settings.form == "get_reward":
            return (self._get("reward") or {}).get("reward_id")
        models = self._get("v1/models")
        listed = [] if models is None else [row for row in models.get("data") or [] if isinstance(row, dict)]
        asked = self._settings.model
        found = [row for row in listed if asked in ("", row.get("id"))]
        return {"id": found[0].get("id"), "root": found[0].get("root")} if found else None

    @property
    def _model(self) -> str | None:
        """The model's name for vLLM, which older versions need."""
        if self._settings.model or self._settings.form == "get_reward":
            return self._settings.model or None
        return self._served["id"] if self._served else None

    def _ask(self, texts: list[Any], examples: list[Example]) -> list[tuple[float, str | None]]:
        body = body_of(self._settings, self._model, texts, examples)
        try:
            answer = self._try(lambda: self._client.post(self._url, json=body))
        except _RefusedError as error:
            if len(texts) == 1:
                return [(float("nan"), f"{self._url} refuses it: {error}")]
            # One of them is at fault, and the others are not to suffer for it.
            return [self._ask([text], [example])[0] for text, example in zip(texts, examples, strict=True)]
        return answer_of(self._settings, answer, len(texts))

    def _try(self, send: Callable[[], Any], *, or_none: bool = False) -> Any:
        """The answer's JSON. Raises ModelError, and _RefusedError for what another request might not suffer.

        With `or_none` a server that does not know the address gives None.
        """
        import httpx

        pause = _FIRST_PAUSE
        for tries in range(1, _TRIES + 1):
            try:
                answer = send()
            except httpx.TransportError as error:
                said = f"no answer in {_TIMEOUT:g} seconds" if isinstance(error, httpx.ReadTimeout) else str(error)
                trouble = f"cannot be reached: {said or type(error).__name__}"
            else:
                if answer.status_code not in _PASSING:
                    return self._read(answer, or_none)
                trouble = f"answers {answer.status_code}: {_words(answer)}"
                wait = answer.headers.get("Retry-After", "")
                pause = max(pause, float(wait)) if wait.isdecimal() else pause
            if tries < _TRIES:
                threading.Event().wait(min(pause, _LONGEST_PAUSE))
                pause *= 2
        raise ModelError(
            f"the reward model at {self._url} {trouble}. Tried {_TRIES} times. Is the server running, and is this the "
            "address?"
        )

    def _read(self, answer: Any, or_none: bool) -> dict[str, Any] | None:
        status = answer.status_code
        if or_none and status in (404, 405):
            return None
        if status in (401, 403):
            raise ModelError(
                f"the reward model at {self._url} answers {status}: {_words(answer)}. "
                f"Set {API_KEY_VARIABLE} to its key."
            )
        if status in (400, 413, 422):
            raise _RefusedError(_words(answer))
        if status != 200:
            raise ModelError(
                f"the reward model at {self._url} answers {status}: {_words(answer)}. Check the end of the url and, of "
                "a vLLM, the model's name."
            )
        try:
            read = answer.json()
        except ValueError:
            read = None
        if not isinstance(read, dict):
            raise ModelError(f"what answers at {self._url} is no reward model: {answer.text[:80]!r}.")
        return read


def _at_once(
    ask: Callable[[list[int]], Any], batches: Sequence[list[int]], most: int
) -> Iterator[tuple[list[int], Any]]:
    """Every batch with what `ask` gives for it, as they come; `most` at once. What one raises is raised here."""
    waiting: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for batch in batches:
        waiting.put(batch)
    done: queue.SimpleQueue[tuple[list[int], Any]] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                batch = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((batch, ask(batch)))
            except Exception as error:  # noqa: BLE001  (raised again by who waits for it)
                done.put((batch, error))

    # Daemons, so that Ctrl-C does not wait for a server.
    for number in range(min(most, len(batches))):
        threading.Thread(target=work, name=f"remote-reward-{number}", daemon=True).start()
    try:
        for _ in batches:
            batch, found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield batch, found
    finally:
        stop.set()


def _words(answer: Any) -> str:
    """What a server says of an error: `detail` of FastAPI, `message` or `error.message` of vLLM, else the text."""
    try:
        read = answer.json()
    except ValueError:
        read = None
    if isinstance(read, dict):
        inner = read.get("error")
        said = read.get("detail") or read.get("message") or (inner.get("message") if isinstance(inner, dict) else inner)
        if said:
            return str(said)[:300].rstrip(". ")
    return str(answer.text)[:200] or str(answer.reason_phrase)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
