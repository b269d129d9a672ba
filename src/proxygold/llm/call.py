"""One call to a chat endpoint by the openai client, and what its outcome means."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from proxygold.errors import JudgeError
from proxygold.llm.records import OPENAI_URL, LLMSettings, Rejected, Reply, estimate_tokens
from proxygold.records import Message

__all__ = ["TooMany", "Transient", "call", "open_client"]


class Transient(Exception):
    """Worth another try."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class TooMany(Transient):
    """Status 429."""


async def call(client: Any, settings: LLMSettings, messages: Sequence[Message]) -> Reply:
    """One try. Raises Transient (worth another), TransportError (not) or JudgeError (nor is any other request)."""
    import openai

    try:
        # The client's own limit is for each read: a server that trickles would never reach it.
        async with asyncio.timeout(settings.timeout):
            # In the body as they are: not every server's parameters are known to the client.
            completion = await client.chat.completions.create(
                model=settings.model, messages=list(messages), extra_body=dict(settings.parameters)
            )
    except (TimeoutError, openai.APITimeoutError) as error:
        raise Transient(f"no answer within {settings.timeout:g} s") from error
    except openai.APIConnectionError as error:
        raise Transient(f"no connection ({error.__cause__ or error})") from error
    except openai.APIStatusError as error:
        return _from_status(error, messages)
    except (openai.APIError, ValueError) as error:  # ValueError: a body that is not JSON
        raise Transient(f"the reply is no chat completion ({str(error)[:200]})") from error
    return _read(completion, messages, with_probabilities=bool(settings.parameters.get("logprobs")))


def open_client(settings: LLMSettings) -> Any:
    import openai

    key = os.environ.get("OPENAI_API_KEY")
    if not key and settings.endpoint() == OPENAI_URL:
        raise JudgeError(
            "OPENAI_API_KEY is not set. Set it to your key, or give the URL of another endpoint, such as "
            "--base-url http://localhost:8000/v1; a local one may need no key."
        )
    # The client refuses to be without a key; and it would retry by itself, unseen by the gate.
    return openai.AsyncOpenAI(
        api_key=key or "none", base_url=settings.endpoint(), max_retries=0, timeout=settings.timeout
    )


def _from_status(error: Any, messages: Sequence[Message]) -> Reply:
    """What an HTTP status means: a Reply only for a content filter's refusal, which is an answer."""
    status, code = error.status_code, str(error.code or "")
    # The client's own message wraps the endpoint's in its whole body.
    told = error.body.get("message") if isinstance(error.body, dict) else None
    said = f"HTTP {status}: {str(told or error.message)[:300]}"
    if code in ("content_filter", "content_policy_violation"):
        return Reply("", "", estimate_tokens(messages), 0, "content_filter", refusal=said)
    if code == "insufficient_quota" or status in (401, 402, 403, 404):
        raise JudgeError(f"the endpoint says {said}. Check the key, the model's name and the URL.") from error
    if status == 429:
        raise TooMany(said, _retry_after(error.response.headers)) from error
    if status in (408, 409) or status >= 500:
        raise Transient(said, _retry_after(error.response.headers)) from error
    raise Rejected(f"the endpoint rejects the request, {said}") from error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, of a Retry-After header in either of its forms (RFC 9110, 10.2.3), or of Azure's and OpenAI's
    finer one."""
    with suppress(ValueError):
        return max(0.0, float(headers.get("retry-after-ms", "")) / 1000)
    given = headers.get("retry-after")
    if given is None:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        date = email.utils.parsedate_tz(given)
        return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())


def _read(completion: Any, messages: Sequence[Message], *, with_probabilities: bool) -> Reply:
    try:
        choice = completion.choices[0]
        text, refusal = choice.message.content, getattr(choice.message, "refusal", None)
        if not text and (calls := getattr(choice.message, "tool_calls", None)):
            text = calls[0].function.arguments  # of a function that it was told to answer by
        if with_probabilities and not refusal:
            text = json.dumps({"text": text, "logprobs": {"content": _probabilities(choice.logprobs)}})
        finish = choice.finish_reason
    except (AttributeError, IndexError, TypeError) as error:
        raise Transient(f"the reply is no chat completion ({str(completion)[:100]!r})") from error
    if finish == "content_filter" and not refusal:
        refusal = "stopped by the endpoint's content filter"
    text = text if isinstance(text, str) else ""
    usage = completion.usage  # some local servers count nothing
    return Reply(
        text=text,
        model=str(completion.model or ""),
        prompt_tokens=getattr(usage, "prompt_tokens", None) or estimate_tokens(messages),
        completion_tokens=getattr(usage, "completion_tokens", None) or len(text.encode()) // 4,
        finish_reason=finish,
        refusal=str(refusal) if refusal else None,
    )


def _probabilities(given: Any) -> list[dict[str, Any]]:
    """Each token of an answer, with those that were the most probable in its place."""
    places = given.content if given is not None else None
    return [
        {
            "token": place.token,
            "logprob": place.logprob,
            "top_logprobs": [{"token": other.token, "logprob": other.logprob} for other in place.top_logprobs],
        }
        for place in places or ()
    ]
