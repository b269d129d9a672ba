"""A policy in the hands of TRL's trainer, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proxygold.models.policy import Policy
from proxygold.models.token_batch import positions

__all__ = ["lent"]


@contextmanager
def lent(policy: Policy) -> Iterator[None]:
    """Inside, TRL may do with the policy's model what it does; after, the model is as it was, but for its weights."""
    model, adapted = policy.causal_lm, policy.adapted
    forward = vars(model).get("forward")
    pad_token = policy.tokenizer.pad_token
    special = [
        (settings, name, getattr(settings, name, None))
        for settings in (model.config.get_text_config(), model.generation_config)
        for name in ("pad_token_id", "bos_token_id", "eos_token_id")
    ]
    # TRL leaves positions to the model, which counts the padding on the left; the sampler does not.
    hook = adapted.register_forward_pre_hook(_add_positions, with_kwargs=True)

    def train(mode: bool = True) -> Any:
        # TRL asks this flag whether it trains. Below it nothing is put into training mode: the model's own dropout
        # would make sampler, policy and reference three models.
        adapted.training = mode
        return adapted

    adapted.train = train
    try:
        yield
    finally:
        hook.remove()
        if forward is None:
            vars(model).pop("forward", None)  # TRL's, which can leave the vocabulary out
        else:
            model.forward = forward
        policy.tokenizer.pad_token = pad_token
        for settings, name, value in special:
            setattr(settings, name, value)
        del adapted.train
        adapted.eval()


def _add_positions(_module: Any, arguments: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    mask = keywords.get("attention_mask")
    if mask is not None and keywords.get("position_ids") is None:
        keywords = {**keywords, "position_ids": positions(mask)}
    return arguments, keywords
