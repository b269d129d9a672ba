"""OpenRLHF: a reward as its remote reward function, in a file or behind a URL.

A file (`--reward.remote_url reward_func.py`) that `proxygold export --to openrlhf` writes:

    from proxygold.integrations.openrlhf import reward_function
    reward_func = reward_function("LI * RP * QR", encoder="facebook/contriever")

A URL: `proxygold serve --reward LINE`, then `--reward.remote_url http://127.0.0.1:8000/get_reward`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proxygold.errors import DataError
from proxygold.integrations.openrlhf_rows import answer_rows, example_from_openrlhf
from proxygold.integrations.shared_reward import shared_reward
from proxygold.records import Example

__all__ = ["RewardFunction", "reward_function"]

# queries, prompts, labels
RewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[Any]], dict[str, Any]]


def reward_function(line: str, *, fallback: float = 0.0, **options: Any) -> RewardFunction:
    """The function that OpenRLHF 0.11 looks for under the name `reward_func`.

    It is called with lists of one, from many threads: those calls are scored together. It never raises: an exception
    there would end the run later, with nothing to tell from. A completion that cannot be scored gets `fallback`, and
    `extra_logs["not_scored"]` is 1; why is logged as a warning.

    `line` and `options` are those of `proxygold.reward`, and wrong ones raise here, when the file is loaded.
    """
    shared = shared_reward(line, fallback=fallback, **options)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        import torch

        rows = shared.rows([_example(*item) for item in _together(queries, prompts, labels)])
        rewards, logs = answer_rows(rows, shared.reward.leaves, fallback)
        tensor = torch.tensor(rewards, dtype=torch.float32)
        return {
            "rewards": tensor,
            "scores": tensor,
            "extra_logs": {name: torch.tensor(values, dtype=torch.float32) for name, values in logs.items()},
        }

    return reward_func


def _together(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> list[tuple[Any, Any, Any]]:
    """One triple a query; of several reward URLs all but the first are sent no prompts and labels."""
    return [
        (
            query,
            prompts[place] if place < len(prompts) else None,
            labels[place] if place < len(labels) else None,
        )
        for place, query in enumerate(queries)
    ]


def _example(query: Any, prompt: Any, label: Any) -> Example | DataError:
    try:
        return example_from_openrlhf(query, prompt, label)
    except DataError as error:
        return error
