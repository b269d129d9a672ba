"""How a study trains: one class of settings for each algorithm, picked by `training.algorithm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, PositiveInt, Tag

from proxygold.training.online_config import GRPOSettings, RLOOSettings
from proxygold.training.ppo_config import PPOConfig

__all__ = ["ALGORITHMS", "AnyTraining", "GRPOTraining", "PPOTraining", "RLOOTraining", "TrainingSettings"]


Tracker = Literal["tensorboard", "wandb", "trackio"]


class TrainingSettings(BaseModel):
    """What does not depend on the algorithm: how long it runs and what is kept on the way. The paper: 5,000 steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: PositiveInt = 5_000
    # Steps between checkpoints to go on from: at most so many are trained again after a stop.
    save_every: PositiveInt = 25
    # How many of the last checkpoints stay to go on from. More than one, because the last may turn out to be damaged.
    keep: PositiveInt = 2
    # Whether the checkpoints that answered validation or dev prompts stay as well. Without it only those that choice
    # compares do, and a lost answer cannot be made again.
    keep_validated: bool = True
    # Who else gets the numbers of train.jsonl.
    trackers: list[Tracker] = []


class PPOTraining(TrainingSettings, PPOConfig):
    """PPO with a value head: the paper's method, and the default."""

    algorithm: Literal["ppo"] = "ppo"


class GRPOTraining(TrainingSettings, GRPOSettings):
    """GRPO, by TRL's trainer."""

    algorithm: Literal["grpo"] = "grpo"


class RLOOTraining(TrainingSettings, RLOOSettings):
    """RLOO, by TRL's trainer."""

    algorithm: Literal["rloo"] = "rloo"


ALGORITHMS: Mapping[str, type[TrainingSettings]] = {"ppo": PPOTraining, "grpo": GRPOTraining, "rloo": RLOOTraining}


def _algorithm(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return str(settings.get("algorithm", "ppo"))
    return getattr(settings, "algorithm", None)


AnyTraining = Annotated[
    Annotated[PPOTraining, Tag("ppo")] | Annotated[GRPOTraining, Tag("grpo")] | Annotated[RLOOTraining, Tag("rloo")],
    Discriminator(_algorithm),
]
