"""verifiers: a reward as a rubric (0.1), or as functions that a TOML file names (1.0: verifiers 0.2 and later).

    rubric = Rubric(**rubric_functions("LI * RP * QR"))                  # 0.1

    # reward.py, which `proxygold export --to verifiers` writes           # v1
    from proxygold.integrations.verifiers import task_functions
    proxygold, proxygold_parts = task_functions("LI * RP * QR")

    [env.taskset.task.rewards.proxygold]
    fn = "reward.py:proxygold"
    [env.taskset.task.metrics.proxygold_parts]
    fn = "reward.py:proxygold_parts"

The prompt and the completion are what verifiers hands over. The reference is the row's `reference`, else its `answer`;
the query type is its `query_type`. Either may also be in `info`.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from proxygold.data.rows import example_from_row
from proxygold.errors import DataError
from proxygold.integrations.batching import ScoredRow
from proxygold.integrations.openrlhf_rows import answer_rows
from proxygold.integrations.shared_reward import SharedReward, shared_reward
from proxygold.records import Example
from proxygold.rewards.columns import completion_text

__all__ = ["rubric_functions", "task_functions"]

# Rewards and metrics of one rollout are asked for one after the other, and scored once.
_REMEMBERED = 4096


def rubric_functions(line: str, *, fallback: float = 0.0, **options: Any) -> dict[str, Any]:
    """What `verifiers.Rubric` (0.1) takes: `funcs`, the reward and a function for each of its parts, and `weights`.

    The parts have weight 0: they are logged and change nothing. A part without a value is 0, and a completion that
    cannot be scored is rewarded with `fallback`; `not_scored` says how often. `line` and `options` are those of
    `proxygold.reward`, and wrong ones raise here.
    """
    scorer = _Scorer(shared_reward(line, fallback=fallback, **options))

    async def proxygold(prompt: Any, completion: Any, answer: Any = None, info: Any = None, **row: Any) -> float:
        return (await scorer.numbers(prompt, completion, answer, info, row))["proxygold"]

    def part(key: str) -> Callable[..., Awaitable[float]]:
        async def function(prompt: Any, completion: Any, answer: Any = None, info: Any = None, **row: Any) -> float:
            return (await scorer.numbers(prompt, completion, answer, info, row))[key]

        function.__name__ = function.__qualname__ = key
        return function

    parts = [part(key) for key in scorer.keys if key != "proxygold"]
    return {"funcs": [proxygold, *parts], "weights": [1.0] + [0.0] * len(parts)}


def task_functions(
    line: str, *, fallback: float = 0.0, **options: Any
) -> tuple[Callable[..., Awaitable[float]], Callable[..., Awaitable[dict[str, float]]]]:
    """A reward and a metric for verifiers v1, each of `task` and `trace`; the metric gives every part by its name.

    `line`, `options` and `fallback` are as for `rubric_functions`.
    """
    scorer = _Scorer(shared_reward(line, fallback=fallback, **options))

    async def proxygold(task: Any, trace: Any) -> float:
        return (await scorer.numbers_of_trace(task, trace))["proxygold"]

    async def proxygold_parts(task: Any, trace: Any) -> dict[str, float]:
        found = await scorer.numbers_of_trace(task, trace)
        return {key: value for key, value in found.items() if key != "proxygold"}

    return proxygold, proxygold_parts


class _Scorer:
    """Examples from what verifiers hands over, and their numbers under names that can be function names."""

    def __init__(self, shared: SharedReward) -> None:
        self._shared = shared
        self._found: OrderedDict[str, ScoredRow] = OrderedDict()
        self.keys = list(self._named(ScoredRow(math.nan, {}, "")))

    async def numbers(
        self, prompt: Any, completion: Any, answer: Any, info: Any, row: Mapping[str, Any]
    ) -> dict[str, float]:
        """The reward as `proxygold`, whether there is none as `not_scored`, and every part."""
        given = {**(info if isinstance(info, Mapping) else {}), **row}
        reference = given.get("reference")
        return await self._score(
            {
                "prompt": prompt,
                "completion": completion,
                "reference": answer if reference is None and answer != "" else reference,
                "query_type": given.get("query_type"),
            }
        )

    async def numbers_of_trace(self, task: Any, trace: Any) -> dict[str, float]:
        """The same, of a v1 task's data and its trace: the prompt with the last reply."""
        fields = {name: getattr(task, name, None) for name in ("answer", "info", "reference", "query_type")}
        prompt = task.prompt if isinstance(task.prompt, str) else task.prompt_text
        return await self.numbers(prompt, trace.last_reply, fields["answer"], fields["info"], fields)

    async def _score(self, values: Mapping[str, Any]) -> dict[str, float]:
        key = repr(values)
        row = self._found.get(key)
        if row is None:
            row = self._found[key] = await self._shared.row_async(_example(values))
            while len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return self._named(row)

    def _named(self, row: ScoredRow) -> dict[str, float]:
        rewards, logs = answer_rows([row], self._shared.reward.leaves, self._shared.fallback)
        return {"proxygold": rewards[0], **{_name(key): values[0] for key, values in logs.items()}}


def _example(values: Mapping[str, Any]) -> Example | DataError:
    try:
        prompt, completion = values["prompt"], values["completion"]
        if not isinstance(prompt, str):
            prompt = [_message(message) for message in prompt]
        return example_from_row({**values, "prompt": prompt, "completion": completion_text(completion)})
    except (DataError, TypeError, ValueError) as error:
        return error if isinstance(error, DataError) else DataError(f"the rollout cannot be read: {error}")


def _message(message: Any) -> dict[str, Any]:
    # A mapping in verifiers 0.1, or a pydantic model of its clients.
    return dict(message) if isinstance(message, Mapping) else {"role": message.role, "content": message.content}


def _name(key: str) -> str:
    """`LI/computed` as `LI_computed`, `RM("a/b")` as `RM_a_b`: verifiers logs functions by their names."""
    return re.sub(r"\W+", "_", key).strip("_")
