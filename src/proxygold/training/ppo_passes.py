"""PPO's forward passes over rollouts, and how processes share them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proxygold.models.policy import Policy
from proxygold.models.token_batch import TokenBatch
from proxygold.training.ppo_math import token_logprobs
from proxygold.training.processes import Processes

__all__ = ["Pass", "run_pass", "run_shared_pass"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over n rollouts: log-probabilities and values (n, T), 0 off the mask, and the mean entropy."""

    logprobs: Tensor
    values: Tensor
    entropy: float


def run_pass(policy: Policy, batch: TokenBatch, temperature: float) -> Pass:
    """Log-probabilities, values and entropy of the responses under the policy as it is now."""
    mask = batch.response_mask
    hidden = policy.response_hidden(batch)
    # Only response tokens go through the vocabulary projection: no prompt, no padding.
    logprobs, entropy = token_logprobs(policy.project, hidden[mask], batch.response_ids[mask], temperature=temperature)
    zeros = torch.zeros(mask.shape, device=mask.device)
    return Pass(
        logprobs=zeros.masked_scatter(mask, logprobs),
        values=policy.values(hidden) * mask,
        entropy=float(entropy.mean()),
    )


def run_shared_pass(
    policy: Policy, batch: TokenBatch, temperature: float, processes: Processes
) -> tuple[Pass, Pass | None]:
    """A pass over rollouts that all processes have: everything, without gradients, and the share that was run here.

    Each process runs its share. The second is None where there was none for it: it has run a row all the same, because
    layers that are sharded over processes are computed by all of them together.
    """
    if processes.count == 1:
        own = run_pass(policy, batch, temperature)
        return Pass(own.logprobs.detach(), own.values.detach(), own.entropy), own
    device, (rows, width) = batch.input_ids.device, batch.response_mask.shape
    share = processes.share(rows)
    mine = batch.rows(torch.tensor(share or range(1), device=device))
    own = run_pass(policy, mine, temperature)
    found = (own.logprobs.detach().cpu(), own.values.detach().cpu(), own.entropy * float(mine.response_mask.sum()))
    whole = Pass(
        torch.zeros(rows, width, device=device),
        torch.zeros(rows, width, device=device),
        entropy=0.0,
    )
    entropy, tokens = 0.0, float(batch.response_mask.sum())
    for rank, (logprobs, values, summed) in enumerate(processes.gather(found)):
        place = Processes(rank, processes.count).share(rows)
        if place:
            whole.logprobs[place.start : place.stop, : logprobs.shape[1]] = logprobs.to(device)
            whole.values[place.start : place.stop, : values.shape[1]] = values.to(device)
            entropy += summed / tokens
    return Pass(whole.logprobs, whole.values, entropy), own if share else None
