"""Several processes that make one run: who they are, what each does, and what they tell each other.

A launcher (`accelerate launch`, `torchrun`) starts them and says in the environment how many there are. Every process
has the whole model, samples and scores its share of the prompts, and goes through its share of each mini-batch. What is
small (tokens, scores, advantages) is gathered, so that every process holds all rollouts of a step and computes the same
numbers from them; gradients are summed. The first process alone writes.

Between processes on CPUs everything goes through gloo, between GPUs tensors go through NCCL. torch is loaded only when
there is more than one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from proxygold.errors import ConfigError, ProxygoldError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

__all__ = ["ALONE", "Processes", "current_processes", "launched_processes", "start_processes"]

T = TypeVar("T")

# The first process may be by itself for a while: it measures `match`, or writes a large checkpoint to a slow disk.
_PATIENCE = timedelta(hours=6)

# Whether the first process does what it alone does: what would be shared out is not, for the others do not come.
_BY_ITSELF: ContextVar[bool] = ContextVar("by itself", default=False)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process, number `rank` (from 0) of `count`."""

    rank: int
    count: int

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, items: int) -> range:
        """Which of `items` things in a row are this process's: a stretch of them, as long as the others' or one off."""
        return range(items * self.rank // self.count, items * (self.rank + 1) // self.count)

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, which alone calls it; it is pickled. What it raises, all raise."""
        if self.count == 1:
            return make()
        import torch.distributed as dist

        error: Exception | None = None
        box: list[Any] = [None]
        if self.first:
            by_itself = _BY_ITSELF.set(True)
            try:
                box[0] = make()
            except Exception as raised:  # noqa: BLE001 - it is raised below, after the others know of it
                error, box[0] = (
                    raised,
                    _Failure(type(raised) if isinstance(raised, ProxygoldError) else None, str(raised)),
                )
            finally:
                _BY_ITSELF.reset(by_itself)
        with _while_all_live():
            dist.broadcast_object_list(box, src=0)
        if error is not None:
            raise error
        if isinstance(box[0], _Failure):
            raise box[0].error()
        result: T = box[0]
        return result

    def gather(self, item: T) -> list[T]:
        """What every process gives here, in the order of their ranks, for all of them. Items are pickled."""
        if self.count == 1:
            return [item]
        import torch.distributed as dist

        items: list[Any] = [None] * self.count
        with _while_all_live():
            dist.all_gather_object(items, item)
        return items

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over processes of numbers, in float64, the same in all of them."""
        if self.count == 1:
            return list(values)
        return [sum(column) for column in zip(*self.gather(list(values)), strict=True)]

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        if self.count == 1:
            return here
        import torch
        import torch.distributed as dist

        counted = torch.tensor([int(here)])
        with _while_all_live():
            dist.all_reduce(counted)
        return bool(counted.item())

    def sum_gradients(self, parameters: Sequence[Parameter]) -> None:
        """Put the sum over processes in the place of each parameter's gradient; one that has none counts as 0."""
        if self.count == 1:
            return
        import torch
        import torch.distributed as dist

        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])
        with _while_all_live():
            dist.all_reduce(flat)
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, summed in zip(parameters, torch.split(flat, sizes), strict=True):
            parameter.grad = summed.view_as(parameter)

    def check_same(self, tensors: Sequence[Tensor], what: str) -> None:
        """Raise TrainingError when `tensors` are not the same, to the last bit, in every process."""
        if self.count == 1:
            return
        import hashlib

        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        found = self.gather(digest.hexdigest())
        if len(set(found)) > 1:
            apart = ", ".join(str(rank) for rank, one in enumerate(found) if one != found[0])
            raise TrainingError(
                f"{what} of process {apart} of {self.count} are not those of process 0: the processes do not compute "
                "the same. Give all of them the same hardware, the same packages and the same files. The last "
                "checkpoint is good."
            )


ALONE = Processes(rank=0, count=1)


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the first process tells the others when it fails."""

    kind: type[ProxygoldError] | None
    message: str

    def error(self) -> Exception:
        return (
            TrainingError(f"the first process failed: {self.message}") if self.kind is None else self.kind(self.message)
        )


def launched_processes() -> int:
    """How many processes the launcher started, as it says in the environment; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def current_processes() -> Processes:
    """The processes that `start_processes` joined; this one alone without it, and inside `from_first`."""
    if launched_processes() == 1 or _BY_ITSELF.get():
        return ALONE
    import torch.distributed as dist

    return Processes(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


@contextmanager
def start_processes() -> Iterator[Processes]:
    """Inside, this process is one of those that its launcher started; without a launcher it is alone.

    Raises ConfigError when they cannot be joined.
    """
    if launched_processes() == 1:
        yield ALONE
        return
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        _check_zero_stage()
        # What ZeRO 1 and 2 would share out is the gradient and the optimiser's state of an adapter: a few megabytes.
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "false"
    import torch

    try:
        from accelerate import PartialState

        # accelerate gives each process its GPU. Between GPUs tensors go by NCCL; what is on CPUs, as the tokens that
        # are gathered and all that is pickled, by gloo.
        on_gpus = torch.cuda.is_available()
        backend = {"backend": "cpu:gloo,cuda:nccl"} if on_gpus else {}
        PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE, **backend)
        if not torch.distributed.is_initialized():
            raise RuntimeError("accelerate was used in this process before, alone")
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the {launched_processes()} processes that were launched cannot be joined: {error}. Start them with "
            "accelerate launch --config_file recipes/accelerate/ddp.yaml, or torchrun; each needs a GPU of its own, or "
            "none of them has one."
        ) from error
    yield current_processes()
    torch.distributed.destroy_process_group()


def _check_zero_stage() -> None:
    if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2") == "3":
        raise ConfigError(
            "DeepSpeed's ZeRO 3, which the launcher asks for, cannot spread the policy's frozen weights here. Launch "
            "with recipes/accelerate/fsdp.yaml, which does, or with a zero_stage of 2."
        )


@contextmanager
def _while_all_live() -> Iterator[None]:
    """What torch says when a process that is waited for is gone, in our words."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            "another process of this run stopped, and this one cannot go on without it "
            f"({str(error).splitlines()[0]}). What the other one said is the reason."
        ) from error
