"""What several processes sampled and scored, put together: the rows of the first process come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from proxygold.records import Scored
from proxygold.training.processes import Processes

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from proxygold.models.generation import Samples

__all__ = ["gather_samples", "gather_scored"]


def gather_scored(scored: Scored, processes: Processes) -> Scored:
    """The scores of all processes. Every process has the same nodes."""
    if processes.count == 1:
        return scored
    every = processes.gather(scored)
    return Scored(
        total=np.concatenate([one.total for one in every]),
        parts={text: np.concatenate([one.parts[text] for one in every]) for text in every[0].parts},
        reasons=tuple(reason for one in every for reason in one.reasons),
    )


def gather_samples(samples: Samples, processes: Processes, *, pad_token_id: int) -> Samples:
    """The samples of all processes, each with as many rows a prompt, in one rectangle on this process's device."""
    if processes.count == 1:
        return samples
    import torch

    from proxygold.models.generation import Samples
    from proxygold.models.token_batch import TokenBatch, positions

    device = samples.batch.input_ids.device
    every = [_moved(one, device) for one in processes.gather(_moved(samples, torch.device("cpu")))]
    width = max(one.batch.prompt_width for one in every)
    longest = max(one.batch.response_mask.shape[1] for one in every)

    def join(tensors: Sequence[Tensor], fill: float, columns: int) -> Tensor:
        """(n, P + T, …) of each process, one below the other; `columns` of what lies right of the prompt is wanted."""
        rows = []
        for one, tensor in zip(every, tensors, strict=True):
            left = width - one.batch.prompt_width
            right = columns - (tensor.shape[1] - one.batch.prompt_width)
            rest = (0, 0) * (tensor.ndim - 2)
            rows.append(torch.nn.functional.pad(tensor, (*rest, left, right), value=fill))
        return torch.cat(rows)

    mask = join([one.batch.attention_mask for one in every], False, longest)
    hidden = [one.batch.frozen_hidden for one in every]
    known = [tensor for tensor in hidden if tensor is not None]
    batch = TokenBatch(
        input_ids=join([one.batch.input_ids for one in every], pad_token_id, longest),
        attention_mask=mask,
        position_ids=positions(mask),
        response_mask=mask[:, width:],
        prompt_width=width,
        # What enters the lowest trained layer is there for every column but the last.
        frozen_hidden=join(known, 0, longest - 1) if len(known) == len(hidden) else None,
        rows_per_prompt=samples.batch.rows_per_prompt,
    )
    logprobs = [torch.nn.functional.pad(one.logprobs, (0, longest - one.logprobs.shape[1])) for one in every]
    return Samples(batch, torch.cat(logprobs), torch.cat([one.finished for one in every]))


def _moved(samples: Samples, device: torch.device) -> Samples:
    batch, hidden = samples.batch, samples.batch.frozen_hidden
    on_device = replace(
        batch,
        input_ids=batch.input_ids.to(device),
        attention_mask=batch.attention_mask.to(device),
        position_ids=batch.position_ids.to(device),
        response_mask=batch.response_mask.to(device),
        frozen_hidden=None if hidden is None else hidden.to(device),
    )
    return replace(samples, batch=on_device, logprobs=samples.logprobs.to(device), finished=samples.finished.to(device))
