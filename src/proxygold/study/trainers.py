"""The trainer that a study's algorithm asks for. All have the same interface: `train(until)`, `step`, `damaged`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxygold.records import PromptRecord
from proxygold.store import ArmDirectory
from proxygold.study.training_settings import AnyTraining, PPOTraining

if TYPE_CHECKING:
    from proxygold.models.policy import Policy
    from proxygold.training.online import OnlineTrainer
    from proxygold.training.ppo import PPOTrainer
    from proxygold.training.ppo_rollouts import ScoresExamples

__all__ = ["make_trainer"]


def make_trainer(
    policy: Policy,
    reward: ScoresExamples,
    prompts: Sequence[PromptRecord],
    training: AnyTraining,
    arm: ArmDirectory,
    seed: int,
) -> PPOTrainer | OnlineTrainer:
    """PPO's trainer, or the one that hands GRPO and RLOO to TRL. Raises what they raise."""
    if isinstance(training, PPOTraining):
        from proxygold.training.ppo import PPOTrainer

        return PPOTrainer(policy, reward, prompts, training, arm, seed)
    from proxygold.training.online import OnlineTrainer

    return OnlineTrainer(policy, reward, prompts, training, arm, seed)
