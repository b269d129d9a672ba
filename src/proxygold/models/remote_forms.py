"""What endpoints that score are asked, and what they answer: four forms of request over HTTP, as JSON.

    /classify    vLLM, a sequence classifier     data[i].probs, of one class
    /pooling     vLLM, a reward model            data[i].data, one number, or one a token: the last counts
    /score       vLLM, a cross-encoder           data[i].score, of a pair of texts
    /get_reward  OpenRLHF, proxygold serve       rewards[i]

vLLM is sent either finished text (a template is given) or the conversation itself, for which it uses the chat template
of the model that it serves. It is told to leave out its activation: squashed into (0, 1), large scores look the same.

Sources: vLLM's request classes (vllm/entrypoints/pooling, of 2026), OpenRLHF 0.11's openrlhf/cli/serve_rm.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxygold.errors import ConfigError, DataError, ModelError
from proxygold.models.reward_inputs import as_messages, pair_text
from proxygold.models.reward_settings import CHAT, RewardModelSettings
from proxygold.models.reward_templates import conversation_text
from proxygold.records import Example, Prompt

__all__ = ["Write", "answer_of", "body_of", "is_sent_alone", "written"]

# A prompt and its completion as text: all before the answer, and the answer with what closes it.
Write = Callable[[Prompt, str], tuple[str, str]]


def is_sent_alone(settings: RewardModelSettings) -> bool:
    """Whether a request holds one example: vLLM takes many texts at once, and one conversation."""
    return settings.form in ("classify", "pooling") and settings.template is None


def written(settings: RewardModelSettings, write: Write | None, example: Example) -> Any:
    """An example as its request has it: a conversation, a pair of texts, or what is before the answer and the answer.

    Raises DataError for a conversation that cannot be written.
    """
    if is_sent_alone(settings):
        return [*as_messages(example.prompt), {"role": "assistant", "content": example.completion}]
    if settings.form == "score":
        return pair_text(example.prompt), example.completion
    try:
        if write is not None:
            return write(example.prompt, example.completion)
        return conversation_text(str(settings.template), example.prompt, example.completion)
    except ConfigError as error:
        raise DataError(str(error)) from error


def body_of(
    settings: RewardModelSettings, model: str | None, texts: Sequence[Any], examples: Sequence[Example]
) -> dict[str, Any]:
    """The request for some examples, of which `texts` are what `written` gave."""
    if settings.form == "get_reward":
        return {
            "query": [before + answer for before, answer in texts],
            "prompts": [before for before, _ in texts],
            "labels": [_label(example) for example in examples],
        }
    body: dict[str, Any] = {} if model is None else {"model": model}
    body["use_activation"] = False
    # -1 is what the served model can read; cut on the left, so that the answer keeps its end.
    body["truncate_prompt_tokens"] = settings.max_length or -1
    if settings.form == "score":
        return body | {"text_1": [first for first, _ in texts], "text_2": [second for _, second in texts]}
    body["truncation_side"] = "left"
    if is_sent_alone(settings):
        return body | {"messages": texts[0]}
    # A chat template writes its special tokens itself.
    return body | {
        "input": [before + answer for before, answer in texts],
        "add_special_tokens": settings.template != CHAT,
    }


def answer_of(settings: RewardModelSettings, answer: Any, count: int) -> list[tuple[float, str | None]]:
    """The score of each example and, where it is NaN, why. Raises ModelError for an answer of another form."""
    if settings.form == "get_reward":
        rows, name = answer.get("rewards"), "rewards"
    else:
        rows, name = answer.get("data"), "data"
        if isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows):
            rows = sorted(rows, key=lambda row: row.get("index", 0))
    if not isinstance(rows, list) or len(rows) != count:
        found = f"{len(rows)} entries" if isinstance(rows, list) else f"{json.dumps(answer)[:200]}"
        raise ModelError(f"{settings.url} answered {found}, where {name} of {count} examples is needed.")
    values = [_number(settings, row) for row in rows]
    left_out = _not_scored(answer) if settings.form == "get_reward" else []
    return [
        (math.nan, f"{settings.url} has no score for it")
        if value is None or not math.isfinite(value) or (place < len(left_out) and left_out[place])
        else (value, None)
        for place, value in enumerate(values)
    ]


def _label(example: Example) -> str:
    """What `proxygold serve` needs beside the text; OpenRLHF's own server does not look at it."""
    label = {"prompt": example.prompt, "reference": example.reference, "query_type": example.query_type}
    try:
        return json.dumps({**example.columns, **label}, ensure_ascii=False)
    except (TypeError, ValueError):  # a column that is no JSON, which no reward model reads
        return json.dumps(label, ensure_ascii=False)


def _not_scored(answer: Mapping[str, Any]) -> Sequence[Any]:
    """`proxygold serve` gives its fallback where there is no score, and says so here."""
    logs = answer.get("extra_logs")
    marks = logs.get("not_scored") if isinstance(logs, Mapping) else None
    return marks if isinstance(marks, list) else []


_FIELDS = {"classify": "probs", "pooling": "data", "score": "score"}


def _number(settings: RewardModelSettings, row: Any) -> float | None:
    value = row
    if settings.form != "get_reward":
        field = _FIELDS[settings.form]
        if not isinstance(row, Mapping) or field not in row:
            raise ModelError(f"{settings.url} answered {json.dumps(row)[:100]}, where {field} is needed.")
        value = row[field]
        if settings.form == "pooling" and isinstance(value, list) and value and isinstance(value[-1], list):
            value = value[-1]
    if isinstance(value, list):
        if len(value) != 1:
            raise ModelError(
                f"{settings.url} answered {len(value)} numbers for one example; a reward model gives one. Is the model "
                "that is served there a classifier of several classes, or one that embeds?"
            )
        value = value[0]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelError(f"{settings.url} answered {json.dumps(value)[:100]}, where a number is needed.")
    return float(value)
