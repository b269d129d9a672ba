"""What `validate` and `rollout` are asked to do; saved as the `study.yaml` of the directory that they write."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from proxygold.data.source_settings import SourceSettings
from proxygold.models.encoder import EncoderSettings
from proxygold.models.policy_settings import PolicySettings, Quantization
from proxygold.study.config import AnalysisSettings, AnswerSettings, GoldSettings

__all__ = ["PROXY", "CheckpointStudy", "PromptSettings", "RewardSettings", "StartSettings"]

# What the reward is called in tables and on the page, and the name of its directory.
PROXY = "proxy"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StartSettings(_Strict):
    """The model that training began from, whose answers are step 0, and how every checkpoint reads its prompts."""

    model: Annotated[str, Field(min_length=1)]
    prompt_template: str = "chat"
    system_prompt: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    quantization: Quantization = "none"

    def of(self, model: str) -> PolicySettings:
        """The settings with which a checkpoint is sampled."""
        return PolicySettings(**{**self.model_dump(), "model": model})


class PromptSettings(_Strict):
    """The prompts that every checkpoint answers: as `data.validation` of a study."""

    validation: SourceSettings
    validation_limit: PositiveInt | None = None


class RewardSettings(_Strict):
    """The reward line that the policy was trained on; None while it is not given."""

    proxy: str | None = None


class CheckpointStudy(_Strict):
    """Checkpoints of any trainer, answered, scored and judged as a study does with its own.

    `checkpoints` has a pattern for each training run, which is a seed of its own. `rewards` has the one reward that
    they were trained on, and `gold` what judges it: None while that is left for later.
    """

    name: Annotated[str, Field(min_length=1)]
    checkpoints: Annotated[list[str], Field(min_length=1)]
    policy: StartSettings
    data: PromptSettings
    rewards: RewardSettings = RewardSettings()
    gold: GoldSettings | None = None
    encoder: EncoderSettings | None = None
    validation: AnswerSettings = AnswerSettings()
    analysis: AnalysisSettings = AnalysisSettings()
    # Python files with features of one's own, read before the reward line is.
    plugins: list[str] = []

    @property
    def seeds(self) -> list[int]:
        """One number for each training run."""
        return list(range(len(self.checkpoints)))
