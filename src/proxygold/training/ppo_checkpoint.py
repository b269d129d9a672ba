"""What a PPO run needs beside the adapter to go on exactly as if it had not been interrupted.

    optimizer.safetensors   Adam's moments, by the place of their parameter: 0.exp_avg, 0.exp_avg_sq, 0.step, 1.…
    trainer_state.json      step, seed, KL coefficient, running moments of the scores, the optimiser's groups, settings

No random state: every step derives its random numbers from (seed, step). The place in the data follows from the step.
The learning rate is constant, so there is no scheduler.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from proxygold.errors import ConfigError, StoreError
from proxygold.store import write_whole
from proxygold.training.online_config import GRPOSettings, RLOOSettings
from proxygold.training.ppo_config import PPOConfig
from proxygold.training.ppo_math import RunningMoments
from proxygold.training.rollout_config import RolloutConfig

__all__ = ["TrainerState", "read_state", "write_state"]

# When a run gives up may change between two runs of it: no number depends on that.
_MAY_CHANGE = {"max_nan_share"}

_KINDS = (PPOConfig, GRPOSettings, RLOOSettings)


@dataclass(frozen=True, slots=True)
class TrainerState:
    """Where a run stands after `step` steps. `optimizer` is the optimiser's own state."""

    step: int
    seed: int
    kl_coef: float
    moments: RunningMoments
    optimizer: dict[str, Any]


def _settings(config: RolloutConfig) -> dict[str, Any]:
    # Only the algorithm's own fields: how long a study trains and how often it is saved may change, not how it trains.
    own = next(kind for kind in _KINDS if isinstance(config, kind))
    return config.model_dump(mode="json", include=set(own.model_fields))


def write_state(directory: Path, state: TrainerState, config: RolloutConfig) -> None:
    """Add the trainer's state to a checkpoint that is being written."""
    # In memory first: when safetensors itself meets a full disk, the error is no OSError.
    moments = {
        f"{place}.{name}": tensor.detach().cpu().contiguous()
        for place, tensors in state.optimizer["state"].items()
        for name, tensor in tensors.items()
    }
    write_whole(directory / "optimizer.safetensors", save(moments))
    record = {
        "step": state.step,
        "seed": state.seed,
        "kl_coef": state.kl_coef,
        "moments": asdict(state.moments),
        "optimizer": state.optimizer["param_groups"],
        "config": _settings(config),
    }
    # Python writes floats so that they read back the same to the last bit.
    write_whole(directory / "trainer_state.json", json.dumps(record, indent=2) + "\n")


def read_state(directory: Path, config: RolloutConfig, seed: int) -> TrainerState:
    """What `write_state` wrote. Raises StoreError when it is damaged, ConfigError when it is of other settings."""
    try:
        record = json.loads((directory / "trainer_state.json").read_text(encoding="utf-8"))
        moments = load_file(directory / "optimizer.safetensors")
        state = TrainerState(
            step=record["step"],
            seed=record["seed"],
            kl_coef=record["kl_coef"],
            moments=RunningMoments(**record["moments"]),
            optimizer={"state": _by_place(moments), "param_groups": record["optimizer"]},
        )
        settings = record["config"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StoreError(
            f"the checkpoint {directory} cannot be read ({type(error).__name__}: {error}). Delete it, and training "
            "goes on from the one before it."
        ) from error
    now = {**_settings(config), "seed": seed}
    then = {**settings, "seed": state.seed}
    changed = sorted(name for name in (now.keys() | then.keys()) - _MAY_CHANGE if now.get(name) != then.get(name))
    if changed:
        listed = ", ".join(f"{name} (was {then.get(name)!r}, is {now.get(name)!r})" for name in changed)
        raise ConfigError(
            f"the checkpoint {directory} was trained with other settings: {listed}. Put them back, or give the study "
            "another name."
        )
    return state


def _by_place(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state as torch has it: the place of a parameter to its tensors by name."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, name = key.split(".", 1)
        state.setdefault(int(place), {})[name] = tensor
    return state
