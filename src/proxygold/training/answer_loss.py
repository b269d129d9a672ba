"""How well a model expects given answers: the mean negative log-likelihood of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from proxygold.training.sft_rows import IGNORED, Row, collate

__all__ = ["AnswerLoss", "answer_loss"]

# Positions whose logits are in memory at a time, and tokens of a pass.
_POSITIONS, _TOKENS = 512, 8192


@dataclass(frozen=True, slots=True)
class AnswerLoss:
    """Over all `tokens` of the answers, not over answers: mean `loss` in nats, share `accuracy` of most likely ones."""

    loss: float
    accuracy: float
    tokens: int


def answer_loss(model: Any, rows: Sequence[Row], *, name: str) -> AnswerLoss:
    """The loss of a causal language model (not a PEFT wrapper of one) on rows; `name` is for messages.

    Logits are computed where something is to be learned, and there in chunks. Nothing is learned from a row's first
    token, which nothing predicts.
    """
    import torch

    from proxygold.models.projection import find_projection

    was_training = model.training
    model.eval()
    project = find_projection(name, model)
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for batch in _batches(rows):
            data = collate([{"input_ids": row.ids, "labels": row.labels} for row in batch], pad_token_id=0)
            labels = data.pop("labels")[:, 1:]
            inputs = {key: value.to(model.device) for key, value in data.items()}
            hidden = model.base_model(**inputs, use_cache=False).last_hidden_state[:, :-1]
            chosen = labels != IGNORED
            states, targets = hidden[chosen.to(hidden.device)], labels[chosen].to(hidden.device)
            for start in range(0, len(targets), _POSITIONS):
                target = targets[start : start + _POSITIONS]
                logprobs = project(states[start : start + _POSITIONS]).float().log_softmax(dim=-1)
                loss -= float(logprobs.gather(1, target[:, None]).double().sum())
                right += int((logprobs.argmax(dim=-1) == target).sum())
                count += len(target)
    model.train(was_training)
    return AnswerLoss(loss / count, right / count, count)


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows of like length, longest first, together at most `_TOKENS` tokens with their padding."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        if batch and len(batch[0].ids) * (len(batch) + 1) > _TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
