"""TRL's GRPOTrainer and RLOOTrainer, given a policy of ours and completions that we sample and score ourselves.

What TRL does: the advantages, the loss with its KL and its clipping, mini-batches and their order, the optimiser's
steps. What it is kept from: choosing prompts, templates, sampling, saving, printing, and leaving the model other than
it got it.

Written for TRL 1.16; its hooks that are overridden here are not part of its public interface, so it is said when
another version has lost one.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proxygold.errors import ConfigError, TrainingError
from proxygold.models.policy import Policy
from proxygold.training.lent_policy import lent
from proxygold.training.online_config import GRPOSettings, OnlineSettings, RLOOSettings
from proxygold.training.ppo_rollouts import Purpose, ScoredRollouts, random_numbers
from proxygold.training.trl_arguments import trl_arguments

__all__ = ["Steps", "train_with_trl"]

_HOOKS = ("_tokenize_prompts", "_generate_single_turn")


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps to make, `first` to `last`, and what TRL is to ask for.

    `prompt_ids`: the ids of a step's prompts. `collect`: samples and scores a step's rollouts, those of one prompt next
    to each other. `done`: called after a step's last update with the means of what TRL logged of them.
    """

    first: int
    last: int
    prompt_ids: Callable[[int], Sequence[str]]
    collect: Callable[[int], ScoredRollouts]
    done: Callable[[Mapping[str, float]], None]


def train_with_trl(
    policy: Policy,
    config: GRPOSettings | RLOOSettings,
    optimizer: torch.optim.Optimizer,
    steps: Steps,
    *,
    seed: int,
    directory: Path,
) -> None:
    """Make the steps. TRL is told of `directory`, and writes nothing there.

    Raises ConfigError when TRL takes the model or the settings for unusable, TrainingError when a gradient is not
    finite, and whatever `steps` raises.
    """
    with lent(policy), torch.random.fork_rng(), warnings.catch_warnings():
        # Of names that transformers has changed and TRL has not.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        trainer = _make_trainer(policy, config, optimizer, steps, seed, directory)
        with _without_prompts_in_warnings(type(trainer).__mro__[1].__module__):
            trainer.train()


def _make_trainer(
    policy: Policy,
    config: GRPOSettings | RLOOSettings,
    optimizer: torch.optim.Optimizer,
    steps: Steps,
    seed: int,
    directory: Path,
) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOTrainer, RLOOTrainer

    kind = GRPOTrainer if isinstance(config, GRPOSettings) else RLOOTrainer
    updates = (steps.last - steps.first + 1) * config.updates_per_step
    rows = [{"prompt": name} for step in range(steps.first, steps.last + 1) for name in steps.prompt_ids(step)]
    rollouts = _Rollouts(policy, config, steps)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [parameter.data for parameter in parameters]
    try:
        trainer = _with_rollouts(kind, rollouts)(
            model=policy.adapted,
            reward_funcs=rollouts.rewards,
            args=trl_arguments(config, updates, policy, seed, directory),
            train_dataset=Dataset.from_list(rows),
            processing_class=policy.tokenizer,
            optimizers=(optimizer, None),
            callbacks=[_step_callback(rollouts, optimizer, seed)],
        )
    except ValueError as error:
        raise ConfigError(f"TRL's {kind.__name__} cannot train this policy: {error}") from error
    finally:
        # TRL takes an adapter that it is given for the reference, copies it and would compare with the copy. Ours is
        # that of the last checkpoint; without the copy TRL compares with the model whose adapter is off, as it should.
        if "ref" in policy.adapted.peft_config:
            policy.adapted.delete_adapter("ref")
        for parameter, data in zip(parameters, before, strict=True):
            parameter.data = data  # in float32: on a quantised model, TRL rounds adapters to bfloat16
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Rollouts:
    """The rollouts of the step that TRL is at, in the forms that it asks for."""

    def __init__(self, policy: Policy, config: OnlineSettings, steps: Steps) -> None:
        self.policy, self.config, self.steps = policy, config, steps
        self.step = steps.first - 1
        self._now: ScoredRollouts | None = None

    def collect(self, prompts: Sequence[str]) -> None:
        """Make those of `self.step`. `prompts`: the ids for which TRL wants one each."""
        self._now = self.steps.collect(self.step)
        ids = [record.id for record in self._now.records]
        if list(prompts) != ids:
            raise TrainingError(
                f"step {self.step}: TRL asks for completions of the prompts {list(prompts)}, where {ids} are due. This "
                "version of TRL orders prompts otherwise than the one that proxygold was written for (1.16)."
            )

    @property
    def now(self) -> ScoredRollouts:
        assert self._now is not None  # TRL tokenizes first, which collects
        return self._now

    def prompt_token_ids(self) -> list[list[int]]:
        batch = self.now.samples.batch
        width = batch.prompt_width
        return [
            ids[mask].tolist()
            for ids, mask in zip(batch.input_ids[:, :width], batch.attention_mask[:, :width], strict=True)
        ]

    def response_token_ids(self) -> list[list[int]]:
        return [self.now.samples.response(row) for row in range(len(self.now.records))]

    def rewards(self, prompts: Sequence[str], **_: Any) -> list[float | None]:
        """TRL's reward function: None leaves a completion out of its group's mean, and nothing is learned from it."""
        return [
            score if valid else None
            for score, valid in zip(self.now.scores.tolist(), self.now.valid.tolist(), strict=True)
        ]


def _with_rollouts(kind: type, rollouts: _Rollouts) -> type:
    """TRL's trainer `kind`, with `rollouts` in the place of its own tokenizing and sampling."""
    missing = [name for name in _HOOKS if not hasattr(kind, name)]
    if missing:
        import trl

        raise ConfigError(
            f"TRL {trl.__version__} has no {kind.__name__}.{missing[0]}, through which proxygold hands its "
            "completions over. Install the version that it was written for: pip install 'trl==1.16.*'."
        )

    class WithRollouts(kind):  # type: ignore[misc]  # which base it has is known at run time only
        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            rollouts.collect(prompts)
            return rollouts.prompt_token_ids(), None, {}

        def _generate_single_turn(self, *_: Any, **__: Any) -> Any:
            completions = rollouts.response_token_ids()
            # GRPO's takes log-probabilities as well; they would correct for a sampler that is another program.
            return (completions, None) if isinstance(rollouts.config, GRPOSettings) else completions

    return WithRollouts


def _step_callback(rollouts: _Rollouts, optimizer: torch.optim.Optimizer, seed: int) -> Any:
    from transformers import TrainerCallback

    updates = rollouts.config.updates_per_step

    class StepCallback(TrainerCallback):  # type: ignore[misc]
        """Tells our steps from TRL's, which are updates."""

        def __init__(self) -> None:
            self.logged: list[dict[str, float]] = []

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % updates == 0:
                rollouts.step += 1
                # TRL puts a step's rollouts into mini-batches in an order that it draws.
                torch.manual_seed(int(random_numbers(seed, Purpose.MINI_BATCHES, rollouts.step).integers(2**62)))

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if not all(bool(gradient.isfinite().all()) for gradient in gradients):
                raise TrainingError(
                    f"step {rollouts.step}: a gradient is not finite. Nothing was updated with it, and the last "
                    "checkpoint is good. With a lower training.learning_rate, or other prompts, it is another study: "
                    "give it a name of its own (name=…)."
                )

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
            if "loss" not in logs:  # the summary at the end
                return
            self.logged.append({name: value for name, value in logs.items() if isinstance(value, int | float)})
            if state.global_step % updates == 0:
                names = {name for entry in self.logged for name in entry}
                means = {name: float(np.mean([e[name] for e in self.logged if name in e])) for name in sorted(names)}
                self.logged.clear()
                rollouts.steps.done(means)

    return StepCallback()


@contextmanager
def _without_prompts_in_warnings(module: str) -> Iterator[None]:
    """Inside, TRL does not print a prompt with all its columns when a reward could not be computed: our log says it."""

    def keep(record: logging.LogRecord) -> bool:
        return "All reward functions returned None" not in record.getMessage()

    logger = logging.getLogger(module)
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
