"""TRL: a reward is a reward function as it is; here a gold reward model rides along.

    GRPOTrainer(reward_funcs=reward("RER"), …)                             # nothing more is needed
    GRPOTrainer(reward_funcs=with_gold(reward("RER"), "gold-mini"), …)     # and gold is logged beside it

Gold is logged from inside the one callable and never returned. As a second reward function of weight 0 it would change
the training: where the proxy has no score, TRL sums the others, and the completion would be rewarded with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from proxygold.errors import ConfigError
from proxygold.models.reward_models import find_reward_model, open_reward_model
from proxygold.models.reward_settings import RewardModelSettings, reward_model_settings
from proxygold.records import FloatArray, Prompt
from proxygold.rewards.columns import Completion, examples_from_columns
from proxygold.rewards.runtime import Reward

__all__ = ["RewardWithGold", "with_gold"]


def with_gold(reward: Reward, gold: str = "", *, every: int = 1, **settings: Any) -> RewardWithGold:
    """`reward` as a TRL reward function that also logs what the reward model `gold` says of the same completions.

    - `gold`: `gold-mini`, a hub id or a directory; loaded at the first call.
    - `every`: score with gold in every so many steps of the trainer only.
    - `settings`: gold's other ones, as in a study (`docs/reward_models.md`): `kind`, `template`, `url`, `device`, …

    Raises ModelError when there is no such reward model, ConfigError for a wrong setting or an `every` below 1.
    """
    if every < 1:
        raise ConfigError(f"every={every} is not allowed; give 1 or more.")
    chosen = reward_model_settings(model=gold, **settings)
    if not chosen.is_remote:
        find_reward_model(gold)  # now, not after the first rollouts
    return RewardWithGold(reward, every, chosen)


class RewardWithGold:
    """Made by `with_gold`. Pickles as the reward and the settings of the reward model."""

    def __init__(self, reward: Reward, every: int, gold: RewardModelSettings) -> None:
        self.reward = reward
        self.gold = gold.name
        self.every = every
        self._settings = gold

    @property
    def __name__(self) -> str:
        return self.reward.__name__

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        completion_ids: object = None,
        trainer_state: Any = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """The rewards, as `reward` gives them.

        Logged beside them: `gold/NAME`, each completion's gold score (None in steps without gold) and their mean; and
        `gold/NAME/spearman`, the rank correlation of proxy and gold over the completions of this call.
        """
        totals = self.reward(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **columns)
        if log_extra is None and log_metric is None:
            return totals
        name = f"gold/{self.gold.rstrip('/').rpartition('/')[2]}"
        if getattr(trainer_state, "global_step", 0) % self.every:
            if log_extra is not None:  # TRL's table of completions needs every column in every step
                log_extra(name, [None] * len(prompts))
            return totals
        model = open_reward_model(self._settings)
        scores, _ = model.score(examples_from_columns(prompts, completions, columns, self.reward.required_columns))
        if log_extra is not None:
            log_extra(name, [float(score) if np.isfinite(score) else None for score in scores])
        if log_metric is not None:
            if np.isfinite(scores).any():
                log_metric(name, float(np.nanmean(scores)))
            rho = _spearman(np.array([np.nan if total is None else total for total in totals]), scores)
            if rho is not None:
                log_metric(f"{name}/spearman", rho)
        return totals


def _spearman(proxy: FloatArray, gold: FloatArray) -> float | None:
    """None where there is none: fewer than three pairs, or all of one value."""
    from scipy.stats import spearmanr

    both = np.isfinite(proxy) & np.isfinite(gold)
    if both.sum() < 3 or np.ptp(proxy[both]) == 0 or np.ptp(gold[both]) == 0:
        return None
    return float(spearmanr(proxy[both], gold[both]).statistic)
