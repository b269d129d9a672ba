"""A client for OpenAI-compatible chat endpoints, for annotators and judges: messages in, text and usage out.

    with LLM(LLMSettings(model="gpt-4.1-mini", parameters={"max_tokens": 16}, cache=Path("answers.sqlite"))) as llm:
        for answer in llm.ask_all(requests, parse): ...

Three things that go wrong are three different errors: `TransportError`, no answer came; `Refusal`, the model declined;
`UnparseableAnswer`, raised by the caller's `parse`. What came as an answer, refusals included, is written to the cache
as it comes and never asked again; a transport error never is. What no retry can mend (a wrong key, an unknown model, an
endpoint that is down, the cost limit) stops the whole run as a plain JudgeError.
"""

from proxygold.llm.client import LLM
from proxygold.llm.estimate import Estimate
from proxygold.llm.records import (
    LLMSettings,
    Refusal,
    Reply,
    Spent,
    TransportError,
    UnparseableAnswer,
    estimate_tokens,
)

__all__ = [
    "LLM",
    "Estimate",
    "LLMSettings",
    "Refusal",
    "Reply",
    "Spent",
    "TransportError",
    "UnparseableAnswer",
    "estimate_tokens",
]
