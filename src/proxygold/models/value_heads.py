"""Language models with a linear head of their own name, as reward models were published before there was one form.

Starling-RM-34B: `transformer.…` and `v_head.weight`. UltraRM-13B: `model.…` and `regression_head.weight`. Both are what
transformers calls a sequence classifier with one output, under other names; they are read as one. (Names: the code in
the model cards of Nexusflow/Starling-RM-34B and openbmb/UltraRM-13b.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proxygold.errors import ModelError

__all__ = ["HEADS", "head_of", "renamed_to_classifier"]

# The heads that are known for what they are. A classifier's own is called score.
HEADS = ("v_head", "regression_head", "value_head", "reward_head")


def head_of(names: Iterable[str]) -> str | None:
    """Which of `HEADS` a checkpoint with these tensors has."""
    found = set(names)
    return next((head for head in HEADS if f"{head}.weight" in found), None)


def renamed_to_classifier(names: Iterable[str], path: str, name: str) -> Mapping[str, str]:
    """What `from_pretrained` takes as `key_mapping`, to read the checkpoint in `path` as a classifier.

    `names` are those of its tensors, `name` is the model's, for messages. Raises ModelError when there is no head, or
    one with a bias, which the classifier's head has no place for.
    """
    names = set(names)
    head = head_of(names)
    if head is None:
        raise ModelError(
            f"{name!r} has no value head: its checkpoint has none of {', '.join(f'{head}.weight' for head in HEADS)}. "
            "Leave out kind: a sequence classifier needs none."
        )
    if f"{head}.bias" in names:
        raise ModelError(
            f"the head {head} of {name!r} has a bias, which cannot be read. Give a checkpoint whose head has none, "
            "such as Nexusflow/Starling-RM-34B or openbmb/UltraRM-13b."
        )
    trunk = _trunk_of(path)
    parts = {tensor.partition(".")[0] for tensor in names} - {head, "lm_head"}
    mapping = {rf"^{head}\.": "score."}
    if len(parts) == 1 and parts != {trunk}:
        mapping[rf"^{parts.pop()}\."] = f"{trunk}."
    return mapping


def _trunk_of(path: str) -> str:
    """What a classifier of this architecture calls all that comes before its head: `model` in a Llama."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(path))
    return str(model.base_model_prefix)
