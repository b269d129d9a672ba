"""The reward language: lines, trees, scoring, calibration, and the `Reward` object."""

from proxygold.rewards.presets import PAPER_REWARDS
from proxygold.rewards.runtime import Reward, RewardSettings, reward

__all__ = ["PAPER_REWARDS", "Reward", "RewardSettings", "reward"]
