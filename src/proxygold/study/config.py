"""What a study is: one policy, some rewards, a gold reward, the prompts, and how each is trained, validated and judged.

A study file holds these fields by these names; `loading.py` reads it. Unknown keys are errors everywhere.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from proxygold.models.encoder import EncoderSettings
from proxygold.models.policy_settings import PolicySettings, SamplingSettings
from proxygold.training.ppo_config import PPOConfig

__all__ = [
    "AnalysisSettings",
    "CalibrationSettings",
    "DataSettings",
    "GoldSettings",
    "Study",
    "TrainingSettings",
    "ValidationSettings",
]

# Names become directories and log columns.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
RESERVED = {"evals"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Strict):
    """Where prompts come from: `builtin`, or a JSONL or Parquet file with `prompt`, `reference` and `query_type`."""

    train: str
    validation: str
    train_limit: PositiveInt | None = None
    validation_limit: PositiveInt | None = None


class GoldSettings(_Strict):
    """The reward that is not trained on: `gold-mini`, or a sequence-classification model by hub id or path.

    `max_length` is in tokens of prompt and answer. None: 1,024, or what the model can read if that is less.
    """

    model: Annotated[str, Field(min_length=1)]
    max_length: PositiveInt | None = None
    batch_size: PositiveInt = 16
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"


class TrainingSettings(PPOConfig):
    """PPO and how long it runs. The paper: 5,000 steps."""

    algorithm: Literal["ppo"] = "ppo"
    steps: PositiveInt = 5_000
    # Steps between checkpoints to go on from, each of which replaces the one before: at most so many are trained again
    # after a stop. The checkpoints that are validated stay.
    save_every: PositiveInt = 25


class ValidationSettings(_Strict):
    """When and how the validation prompts are answered. The paper: every 500 steps, temperature 0.7, 512 tokens."""

    every: PositiveInt = 500
    max_new_tokens: PositiveInt = 512
    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_size: PositiveInt = 32
    # One decoding seed for every checkpoint, so that two checkpoints differ by their weights alone.
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def sampling(self) -> SamplingSettings:
        return SamplingSettings(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)


class CalibrationSettings(_Strict):
    """How `match` is measured: on this many train prompts, answered by the start policy as it samples in training."""

    prompts: Annotated[int, Field(ge=20)] = 256


class AnalysisSettings(_Strict):
    """How the verdict is read: bootstrap draws, their seed, and the Spearman threshold of a success."""

    draws: Annotated[int, Field(ge=100)] = 10_000
    seed: Annotated[int, Field(ge=0)] = 0
    threshold: Annotated[float, Field(gt=-1, lt=1)] = 0.8


class Study(_Strict):
    """A whole experiment. `rewards` maps a name to a reward line; every reward is trained once for each seed."""

    name: Annotated[str, Field(pattern=NAME)]
    policy: PolicySettings
    data: DataSettings
    rewards: Annotated[dict[str, str], Field(min_length=1)]
    gold: GoldSettings
    encoder: EncoderSettings | None = None
    training: TrainingSettings = TrainingSettings()
    validation: ValidationSettings = ValidationSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    # Python files with features of one's own, read before the reward lines are.
    plugins: list[str] = []

    @field_validator("rewards")
    @classmethod
    def _names_are_paths(cls, rewards: dict[str, str]) -> dict[str, str]:
        for name in rewards:
            if not re.match(NAME, name) or name in RESERVED:
                raise ValueError(
                    f"{name!r} cannot name a reward: it becomes a directory. Use up to 64 letters, digits, '.', '_', "
                    f"'+' or '-', beginning with a letter or digit, and none of {', '.join(sorted(RESERVED))}"
                )
        return rewards

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed occurs twice; each trains the same policy, so give each once")
        return seeds

    @model_validator(mode="after")
    def _validation_falls_on_steps(self) -> Study:
        if self.training.steps % self.validation.every:
            raise ValueError(
                f"training.steps ({self.training.steps}) must be a multiple of validation.every "
                f"({self.validation.every}), so that the last checkpoint is validated"
            )
        return self

    @property
    def validation_steps(self) -> list[int]:
        """The steps at which the validation prompts are answered; 0 is the start policy."""
        return list(range(0, self.training.steps + 1, self.validation.every))
