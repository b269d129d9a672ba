"""RewardBench, for white-box rewards and reward models."""
