"""What a PPO run needs beside the adapter to go on exactly as if it had not been interrupted.

    optimizer.pt         Adam's moments
    trainer_state.json   step, seed, KL coefficient, running moments of the scores, settings

No random state: every step derives its random numbers from (seed, step). The place in the data follows from the step.
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from proxygold.errors import ConfigError, StoreError
from proxygold.store import write_whole
from proxygold.training.ppo_config import PPOConfig
from proxygold.training.ppo_math import RunningMoments

__all__ = ["TrainerState", "read_state", "remove_checkpoint", "write_state"]

# When a run gives up may change between two runs of it: no number depends on that.
_MAY_CHANGE = {"max_nan_share"}


@dataclass(frozen=True, slots=True)
class TrainerState:
    """Where a run stands after `step` steps. `optimizer` is the optimiser's own state."""

    step: int
    seed: int
    kl_coef: float
    moments: RunningMoments
    optimizer: dict[str, Any]


def _settings(config: PPOConfig) -> dict[str, Any]:
    # Only PPO's own fields: how long a study trains and how often it is saved may change, how it trains may not.
    return config.model_dump(mode="json", include=set(PPOConfig.model_fields))


def write_state(directory: Path, state: TrainerState, config: PPOConfig) -> None:
    """Add the trainer's state to a checkpoint that is being written."""
    # In memory first: when torch itself meets a full disk, the error does not say so.
    moments = io.BytesIO()
    torch.save(state.optimizer, moments)
    write_whole(directory / "optimizer.pt", moments.getvalue())
    record = {
        "step": state.step,
        "seed": state.seed,
        "kl_coef": state.kl_coef,
        "moments": asdict(state.moments),
        "config": _settings(config),
    }
    # Python writes floats so that they read back the same to the last bit.
    write_whole(directory / "trainer_state.json", json.dumps(record, indent=2) + "\n")


def read_state(directory: Path, config: PPOConfig, seed: int) -> TrainerState:
    """What `write_state` wrote. Raises StoreError when it is damaged, ConfigError when it is of other settings."""
    try:
        record = json.loads((directory / "trainer_state.json").read_text(encoding="utf-8"))
        optimizer = torch.load(directory / "optimizer.pt", map_location="cpu", weights_only=True)
        state = TrainerState(
            step=record["step"],
            seed=record["seed"],
            kl_coef=record["kl_coef"],
            moments=RunningMoments(**record["moments"]),
            optimizer=optimizer,
        )
        settings = record["config"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError) as error:
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


def remove_checkpoint(directory: Path) -> None:
    """Remove a checkpoint so that none is ever half there: it is renamed first, and what begins with a dot is none."""
    hidden = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(hidden, ignore_errors=True)  # of a removal that was stopped
    directory.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)
