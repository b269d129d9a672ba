"""The records that pass between the floors: frozen, no behaviour.

`Example` is what a reward scores, `Rollout` what a policy said on a prompt, `Scored` what a reward returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLOSED_ENDED",
    "OPEN_ENDED",
    "QUERY_TYPE_ALIASES",
    "Example",
    "FloatArray",
    "Message",
    "Prompt",
    "PromptRecord",
    "Rollout",
    "Scored",
]

OPEN_ENDED = "open_ended"
CLOSED_ENDED = "closed_ended"

# What a data file may say for a query type. The last two are the labels of the paper's released data.
QUERY_TYPE_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "open_ended": OPEN_ENDED,
        "closed_ended": CLOSED_ENDED,
        "OPENENDED": OPEN_ENDED,
        "CONSTRAINED": CLOSED_ENDED,
    }
)

FloatArray = NDArray[np.float64]


class Message(TypedDict):
    """One turn of a conversation, in the form chat templates take."""

    role: str
    content: str


Prompt = str | list[Message]


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with one completion of it.

    `prompt` is the user's raw text (no template, no system text) or a list of messages. `query_type` is `open_ended`,
    `closed_ended` or None. `columns` holds every other column of the data, for a user's own features.
    """

    prompt: Prompt
    completion: str
    reference: str | None = None
    query_type: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A prompt to train or to validate on. `id` is unique within its data set."""

    id: str
    prompt: Prompt
    reference: str | None = None
    query_type: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """A completion that a policy sampled. `tokens` counts the end-of-sequence token; `finished`: whether it came."""

    prompt_id: str
    prompt: Prompt
    completion: str
    tokens: int
    finished: bool
    reference: str | None = None
    query_type: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What a reward gives for n examples.

    `total`: (n,) float64, NaN where it could not be computed. `parts`: the canonical text of each node of the reward,
    in evaluation order, to its (n,) values. `reasons`: n entries, None where `total` is finite, else why it is not.
    """

    total: FloatArray
    parts: Mapping[str, FloatArray]
    reasons: tuple[str | None, ...]
