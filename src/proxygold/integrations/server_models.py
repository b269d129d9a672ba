"""What the server takes and gives, as the OpenAPI page shows it.

An example is read by `data.rows`, which also reads data files: the same fields, the same words when one is wrong. Here
its form is only described.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from proxygold.records import QUERY_TYPE_ALIASES

__all__ = [
    "GetRewardAnswer",
    "GetRewardRequest",
    "Health",
    "Limits",
    "Problem",
    "RewardCard",
    "Score",
    "ScoreAnswer",
    "ScoreRequest",
]

_EXAMPLES: list[JsonValue] = [
    {
        "prompt": "Where is Oslo?",
        "completion": "Oslo is the capital of Norway, at the end of a fjord in the south of the country.",
        "reference": "In Norway.",
        "query_type": "closed_ended",
    },
    {
        "prompt": [{"role": "user", "content": "Say something nice."}],
        "completion": "You ask good questions.",
        "query_type": "open_ended",
    },
]

_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "user", "assistant", "tool"]},
        "content": {"type": "string"},
    },
}

ExampleIn = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "title": "Example",
            "type": "object",
            "required": ["prompt", "completion"],
            "properties": {
                "prompt": {
                    "description": "What the user asked: text without a template, or messages.",
                    "anyOf": [{"type": "string"}, {"type": "array", "items": _MESSAGE, "minItems": 1}],
                },
                "completion": {"type": "string"},
                "reference": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "query_type": {"anyOf": [{"type": "string", "enum": list(QUERY_TYPE_ALIASES)}, {"type": "null"}]},
            },
            "additionalProperties": True,
        }
    ),
]


class ScoreRequest(BaseModel):
    """Examples to score. Fields besides the four that are named reach features of one's own."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"examples": _EXAMPLES}]})

    examples: list[ExampleIn]


class Score(BaseModel):
    """The score of one example. A number that could not be computed is null; `reason` says why there is no total."""

    total: float | None
    parts: dict[str, float | None] = Field(description="The value of each part of the reward line, by its text.")
    reason: str | None


class ScoreAnswer(BaseModel):
    """One score for each example, in their order."""

    scores: list[Score]


class GetRewardRequest(BaseModel):
    """OpenRLHF's request: three lists of one length. Labels may be left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": [
                        "<|im_start|>user\nWhere is Oslo?<|im_end|>\n<|im_start|>assistant\nIn Norway.<|im_end|>"
                    ],
                    "prompts": ["<|im_start|>user\nWhere is Oslo?<|im_end|>\n<|im_start|>assistant\n"],
                    "labels": [
                        '{"prompt": "Where is Oslo?", "reference": "In Norway.", "query_type": "closed_ended"}',
                    ],
                }
            ]
        }
    )

    query: list[str] = Field(description="Prompt and response as one text, decoded with special tokens.")
    prompts: list[str] = Field(description="The prompts, with their template.")
    labels: list[Any] | None = Field(
        default=None, description="References as text, or JSON with prompt, reference and query_type."
    )


class GetRewardAnswer(BaseModel):
    """OpenRLHF's answer: every number is finite. `extra_logs` has the same keys in every answer."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


class Limits(BaseModel):
    """The most that one request may hold."""

    examples: int
    body_bytes: int


class RewardCard(BaseModel):
    """Which reward this is, and what a request may hold."""

    reward: str = Field(description="The canonical reward line.")
    reward_id: str = Field(description="A hash of all that decides a score.")
    name: str = Field(description="The name for logs.")
    leaves: list[str] = Field(description="The features and reward models of the line, by their text in `parts`.")
    required_columns: list[str]
    fallback: float = Field(description="What /get_reward gives where there is no score.")
    limits: Limits
    version: str


class Health(BaseModel):
    """`ready`: models are loaded, and requests are answered."""

    status: str


class Problem(BaseModel):
    """What was given, what is allowed, and what to do."""

    detail: str
