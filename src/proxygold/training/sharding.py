"""A policy too large for one GPU: the frozen weights of its layers spread over processes, by torch's FSDP.

Asked for by the launcher's configuration (recipes/accelerate/fsdp.yaml). A layer is put together when it is computed,
in the forward and the backward pass, and taken apart again. Adapter and value head, which are trained and small,
embeddings and the vocabulary projection are whole in every process; so gradients and checkpoints are what they are
without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from proxygold.errors import ConfigError
from proxygold.models.causal_lm import decoder_layers, pick_device, pick_dtype
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import PolicySettings
from proxygold.training.processes import Processes

__all__ = ["in_step", "load_sharded", "sharding_wanted"]


def sharding_wanted(processes: Processes) -> bool:
    """Whether the launcher's configuration asks for FSDP, and there is more than one process to share by."""
    return processes.count > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def load_sharded(settings: PolicySettings, processes: Processes) -> Policy:
    """A policy whose layers are spread over all processes. It is read into main memory first, by every process.

    Raises ConfigError for settings that cannot be spread, and what `Policy.load` raises.
    """
    if settings.quantization != "none":
        raise ConfigError(
            f"policy.quantization: {settings.quantization} cannot be spread by FSDP. A quantised policy fits one GPU: "
            "launch with recipes/accelerate/ddp.yaml, or set policy.quantization=none."
        )
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError("the launcher asks for FSDP 1. Set fsdp_version: 2, as recipes/accelerate/fsdp.yaml does.")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    device = pick_device(settings.device)
    dtype = "bfloat16" if pick_dtype(settings.dtype, device) == torch.bfloat16 else "float32"
    policy = Policy.load(settings.model_copy(update={"device": "cpu", "dtype": dtype}))
    policy.settings = settings
    mesh = init_device_mesh(device.type, (processes.count,))
    trained = set(policy.trainable_parameters())
    reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true"
    offload = os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true"
    for layer in decoder_layers(policy.causal_lm):
        fully_shard(
            layer,
            mesh=mesh,
            reshard_after_forward=reshard,
            offload_policy=CPUOffloadPolicy() if offload else OffloadPolicy(),
            ignored_params=trained & set(layer.parameters()),
        )
    policy.settle_sharded(device)
    return policy


@contextmanager
def in_step(policy: Policy, processes: Processes) -> Iterator[None]:
    """Inside, processes may make differently many passes without gradients through a sharded policy, as in sampling.

    All are needed for every layer: who is done goes on with passes over one token until all are.
    """
    if not policy.sharded:
        yield
        return

    def announce(*_: object) -> None:
        processes.any(True)

    handle = policy.trunk.register_forward_pre_hook(announce)
    try:
        yield
    finally:
        handle.remove()
    token = torch.zeros((1, 1), dtype=torch.long, device=policy.device)
    with torch.no_grad():
        while processes.any(False):
            policy.trunk(input_ids=token, use_cache=False)
