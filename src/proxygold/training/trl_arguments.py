"""The settings of GRPO and RLOO as TRL wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proxygold.errors import ConfigError
from proxygold.models.policy import Policy
from proxygold.training.online_config import GRPOSettings, RLOOSettings

__all__ = ["trl_arguments"]


def trl_arguments(config: GRPOSettings | RLOOSettings, updates: int, policy: Policy, seed: int, directory: Path) -> Any:
    """The settings in TRL's form, for so many optimiser steps. Raises ConfigError for a device that TRL cannot use."""
    from trl import GRPOConfig, RLOOConfig

    per_algorithm: dict[str, Any]
    if isinstance(config, GRPOSettings):
        kind = GRPOConfig
        per_algorithm = {
            "loss_type": config.loss_type,
            "scale_rewards": config.scale_rewards,
            "importance_sampling_level": config.importance_sampling_level,
        }
    else:
        kind = RLOOConfig
        per_algorithm = {
            "normalize_advantages": config.normalize_advantages,
            "reward_clip_range": config.reward_clip_range,
        }
    arguments = kind(
        output_dir=str(directory),
        # what is learned, and from how many at once
        per_device_train_batch_size=config.rollouts_per_pass,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        generation_batch_size=config.batch_size,
        num_generations=config.samples_per_prompt,
        num_iterations=config.num_iterations,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=config.beta,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon_high,
        mask_truncated_completions=config.mask_truncated_completions,
        max_grad_norm=config.max_grad_norm,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant",
        max_steps=updates,
        shuffle_dataset=False,
        **per_algorithm,
        # where and in which numbers: those of the policy
        use_cpu=policy.device.type == "cpu",
        bf16=False,  # no autocast: the policy has its dtype
        gradient_checkpointing=False,
        seed=seed % 2**32,
        # what TRL would do beside
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process takes the policy's GPU, however many there are
    if arguments.device != policy.device:
        raise ConfigError(
            f"policy.device is {policy.device}, but TRL would train on {arguments.device}. Leave policy.device at "
            "auto, and let CUDA_VISIBLE_DEVICES show the one that is meant."
        )
    return arguments
