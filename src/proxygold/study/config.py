"""What a study is: one policy, some rewards, a gold reward, the prompts, and how each is trained, validated and judged.

A study file holds these fields by these names; `loading.py` reads it. Unknown keys are errors everywhere.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from proxygold.data.source_settings import SourceSettings
from proxygold.data.typed_prompts import QueryTypeSettings
from proxygold.models.encoder import EncoderSettings
from proxygold.models.policy_settings import PolicySettings, SamplingSettings
from proxygold.models.reward_settings import RewardModelSettings
from proxygold.study.training_settings import AnyTraining, PPOTraining, TrainingSettings

__all__ = [
    "AnalysisSettings",
    "AnswerSettings",
    "CalibrationSettings",
    "ChoiceSettings",
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
    """Where the prompts come from that are trained on, validated on, and (`dev`) choose the best checkpoint.

    Each is a word or a mapping, as `SourceSettings` tells: `builtin`, a known data set, a file, a data set of the hub.
    Prompts of train that are in one of the others too are left out, and prompts of dev that are in validation.
    `gold_training` is what gold was trained on, where that is known: only to count which of the prompts are in it.
    """

    train: SourceSettings
    validation: SourceSettings
    dev: SourceSettings | None = None
    gold_training: SourceSettings | None = None
    # Who gives query types to prompts that come without, as published data sets do. None: nobody.
    query_types: QueryTypeSettings | None = None
    train_limit: PositiveInt | None = None
    dev_limit: PositiveInt | None = None
    validation_limit: PositiveInt | None = None


class GoldSettings(RewardModelSettings):
    """The reward that is not trained on."""


class AnswerSettings(_Strict):
    """How the validation prompts are answered. The paper: temperature 0.7, 512 tokens."""

    max_new_tokens: PositiveInt = 512
    temperature: Annotated[float, Field(ge=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_size: PositiveInt = 32
    # One decoding seed for every checkpoint, so that two checkpoints differ by their weights alone.
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def sampling(self) -> SamplingSettings:
        return SamplingSettings(max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p)


class ValidationSettings(AnswerSettings):
    """And when. The paper: every 500 steps."""

    every: PositiveInt = 500


class ChoiceSettings(_Strict):
    """Which checkpoint is the best one, told by its answers to `data.dev`, which are sampled as in training.

    `proxy` and `gold`: the highest mean. `gold_lower_bound`: the highest lower end of the 95% interval of gold's gain
    over the start policy. `every`: steps between the checkpoints that are compared; None is `validation.every`. The
    paper: by proxy, every 1,000 steps.
    """

    by: Literal["proxy", "gold", "gold_lower_bound"] = "proxy"
    every: PositiveInt | None = None
    # One decoding seed for every checkpoint, as in validation.
    seed: Annotated[int, Field(ge=0)] = 0


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
    training: AnyTraining = PPOTraining()
    validation: ValidationSettings = ValidationSettings()
    choice: ChoiceSettings | None = None
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

    @model_validator(mode="after")
    def _choice_needs_dev(self) -> Study:
        if self.data.dev is None:
            if self.choice is not None:
                raise ValueError(
                    "choice needs prompts of its own, which are neither trained on nor validated on: give data.dev"
                )
            return self
        if self.choice is None:
            object.__setattr__(self, "choice", ChoiceSettings())  # so that the saved study says how it was chosen
        if self.training.steps % self._choice_every():
            raise ValueError(
                f"training.steps ({self.training.steps}) must be a multiple of choice.every "
                f"({self._choice_every()}), so that the last checkpoint can be chosen"
            )
        return self

    def _choice_every(self) -> int:
        return (self.choice and self.choice.every) or self.validation.every

    @property
    def choice_steps(self) -> list[int]:
        """The steps at which the dev prompts are answered: none without `data.dev`; 0 is the start policy."""
        return [] if self.choice is None else list(range(0, self.training.steps + 1, self._choice_every()))

    @property
    def answered_steps(self) -> list[int]:
        """The steps at which prompts of either kind are answered, whose checkpoints are kept, and step 0."""
        return sorted({*self.validation_steps, *self.choice_steps})

    @model_validator(mode="after")
    def _dropout_is_ppos(self) -> Study:
        if self.training.algorithm != "ppo" and self.policy.lora.dropout:
            raise ValueError(
                f"policy.lora.dropout is {self.policy.lora.dropout}, but {self.training.algorithm} would compare "
                "log-probabilities of two dropout masks: set it to 0"
            )
        return self

    @property
    def validation_steps(self) -> list[int]:
        """The steps at which the validation prompts are answered; 0 is the start policy."""
        return list(range(0, self.training.steps + 1, self.validation.every))
