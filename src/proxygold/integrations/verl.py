"""verl: a reward as its custom reward function, configured by one line.

    reward.custom_reward_function.path=pkg://proxygold.integrations.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.line="LI * RP * QR"
    +reward.custom_reward_function.reward_kwargs.encoder=facebook/contriever

verl (0.7.1 and later) asks for one sample at a time, from a pool of threads. It hands over no prompt: by convention
that is `extra_info["question"]`; `reference` and `query_type` are in `extra_info` too, and without a reference there
the ground truth is one. `proxygold export --to verl` writes data in that form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxygold.data.rows import example_from_row
from proxygold.errors import DataError
from proxygold.integrations.openrlhf_rows import answer_rows
from proxygold.integrations.shared_reward import shared_reward
from proxygold.records import Example

__all__ = ["compute_score", "example_from_verl"]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    line: str,
    fallback: float = 0.0,
    **options: Any,
) -> dict[str, float]:
    """The reward of one sample as verl takes it: `score`, and numbers for its logs under keys that are always the same.

    `line` and `options` are those of `proxygold.reward`; they come from verl's `reward_kwargs`. A sample that cannot
    be scored gets `fallback`, with `not_scored` 1. Each feature of the line is there with its value, and
    `FEATURE/computed` is 0 where it has none, which is then written as 0.

    Raises at the first call, and only then, when the line or an option is not allowed.
    """
    # Where verl serves reward models of its own, it adds these to every call.
    for name in ("reward_router_address", "reward_model_tokenizer"):
        options.pop(name, None)
    shared = shared_reward(line, fallback=fallback, **options)
    try:
        example: Example | DataError = example_from_verl(data_source, solution_str, ground_truth, extra_info)
    except DataError as error:
        example = error
    rewards, logs = answer_rows([shared.row(example)], shared.reward.leaves, fallback)
    return {"score": rewards[0], **{name: values[0] for name, values in logs.items()}}


def example_from_verl(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None
) -> Example:
    """The example that one sample stands for. Raises DataError when it does not make one."""
    extra = {str(key): value for key, value in (extra_info or {}).items()}
    if extra.get("question") is None:
        raise DataError(
            'verl hands over no prompt: put it into extra_info["question"] of the data '
            "(proxygold export --to verl does)"
        )
    reference = extra.pop("reference", None)
    if reference is None and isinstance(ground_truth, str | int | float) and ground_truth != "":
        reference = str(ground_truth)
    return example_from_row(
        {
            **extra,
            "prompt": extra.pop("question"),
            "completion": solution_str,
            "reference": reference,
            "data_source": data_source,
            "ground_truth": ground_truth,
        }
    )
