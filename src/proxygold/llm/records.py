"""What passes between an LLM client and its users: settings, replies, what they used, and what goes wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxygold.errors import ConfigError, JudgeError
from proxygold.records import Message

__all__ = [
    "OPENAI_URL",
    "LLMSettings",
    "Refusal",
    "Rejected",
    "Reply",
    "Spent",
    "TransportError",
    "UnparseableAnswer",
    "estimate_tokens",
]

OPENAI_URL = "https://api.openai.com/v1"


class TransportError(JudgeError):
    """No answer came: no connection, no time left, an error of the server's, or a reply that is no chat completion."""


class Rejected(TransportError):
    """The endpoint will not take this request, however often it is sent."""


class Refusal(JudgeError):
    """The model, or the endpoint's content filter, declined to answer."""


class UnparseableAnswer(JudgeError):
    """An answer came that does not say what was asked for. `answer` is its text."""

    def __init__(self, reason: str, answer: str) -> None:
        super().__init__(reason)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class LLMSettings:
    """Which model is asked, and how.

    - `base_url`: None is `$OPENAI_BASE_URL`, else OpenAI's. The key is `$OPENAI_API_KEY`, which a local server may not
      need.
    - `parameters`: sent as they are, such as temperature, max_tokens, or max_completion_tokens for those models that
      know only that.
    - `concurrency`: requests under way at most; fewer for a while after the endpoint said that they are too many.
    - `timeout`: seconds for one try. `retries`: further tries, after `first_delay` seconds, then twice that, and so on.
    - `cache`: an SQLite file of answers; None keeps none.
    - `price_in`, `price_out`: per million tokens, in the user's currency. `max_cost` needs both.
    """

    model: str
    base_url: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 5
    first_delay: float = 0.5
    cache: Path | None = None
    price_in: float | None = None
    price_out: float | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.retries < 0 or self.timeout <= 0:
            raise ConfigError("concurrency must be at least 1, retries at least 0, and the timeout above 0 seconds.")
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise ConfigError("a cost limit needs prices: give --price-in and --price-out, per million tokens.")
        if {"max_tokens", "max_completion_tokens"} <= self.parameters.keys():
            raise ConfigError("max_tokens and max_completion_tokens are both given. An endpoint takes one of them.")

    def endpoint(self) -> str:
        """The base URL without a slash at its end."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")

    def most_tokens(self) -> int | None:
        """The longest answer that is allowed, in tokens; None when the parameters set no limit."""
        limit = self.parameters.get("max_completion_tokens", self.parameters.get("max_tokens"))
        return limit if isinstance(limit, int) else None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered. `model` is the snapshot that the endpoint says it was.

    `text` is the arguments of a function, where the model was told to answer by calling one. Where log-probabilities
    were asked for (`logprobs` among the parameters), it is JSON: the answer's `text`, and its `logprobs` in OpenAI's
    form. `refusal` is why it declined, if it did. `finish_reason` is the endpoint's; `length`: the answer was cut off.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None = None
    refusal: str | None = None


@dataclass(slots=True)
class Spent:
    """What a run has used: calls (retries too), answers from the cache, tokens, and what they cost if that is known."""

    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


def estimate_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens messages have: a token for four bytes of UTF-8, and four for each message.

    No tokenizer of an endpoint's is known here. English text comes out within some 20%.
    """
    return sum(4 + len(message["content"].encode()) // 4 for message in messages)
