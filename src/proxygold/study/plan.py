"""The plan of a study: what each stage will do and how much memory the policy takes, without running anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proxygold.errors import ModelError
from proxygold.store import RunDirectory
from proxygold.study.begin import parse_rewards
from proxygold.study.changes import allowed_changes
from proxygold.study.config import Study
from proxygold.study.prompts import read_study_prompts
from proxygold.study.scoring import check_gold

__all__ = ["PolicyMemory", "policy_memory", "print_plan"]

GIB = 2**30


@dataclass(frozen=True, slots=True)
class PolicyMemory:
    """Bytes that training keeps, by what they hold. Activations come on top and depend on the longest batch.

    `weights`: the one copy of the frozen model that policy and reference share. `trained`: adapter and value head in
    float32, each with its gradient and Adam's two moments. `cache`: keys and values of one batch of full-length
    rollouts, without their prompts.
    """

    weights: int
    trained: int
    cache: int

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.cache


def policy_memory(study: Study) -> PolicyMemory:
    """Count the policy's memory from its configuration alone, without loading its weights.

    Raises ModelError when the configuration cannot be read.
    """
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM

    from proxygold.models.causal_lm import decoder_layers, load_config, pick_device, pick_dtype

    policy, training = study.policy, study.training
    config = load_config(policy.model)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the policy {policy.model!r} is no causal language model: {error}") from error
    size = torch.finfo(pick_dtype(policy.dtype, pick_device(policy.device))).bits // 8
    layers = decoder_layers(model)
    adapted = layers if policy.lora.layers is None else layers[-policy.lora.layers :]
    trained = sum(
        policy.lora.r * (module.in_features + module.out_features)
        for name, module in adapted.named_modules()
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in policy.lora.target_modules
    )
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    keys_and_values = 2 * len(layers) * heads * head_size * training.batch_size * training.max_new_tokens
    return PolicyMemory(
        weights=sum(parameter.numel() for parameter in model.parameters()) * size,
        trained=(trained + text.hidden_size + 1) * 4 * 4,
        cache=keys_and_values * size,
    )


def print_plan(study: Study, runs: Path, console: Console | None = None) -> None:
    """Print what `proxygold run` would do, and what of it is done already.

    Raises what the run would before it trains: for another study of the same name, a reward line, gold, the prompts.
    """
    console = console or Console()
    run = RunDirectory(runs / study.name)
    if run.exists():
        allowed_changes(run, study)
    parse_rewards(study, study.rewards)
    check_gold(study.gold)
    prompts = read_study_prompts(study.data)
    steps = study.validation_steps
    arms = [run.arm(name, seed) for name in study.rewards for seed in study.seeds]

    console.print(f"study [bold]{study.name}[/]  in {run.path}{'  (begun)' if run.exists() else ''}")
    console.print(
        f"policy {study.policy.model}, gold {study.gold.model}, {len(prompts.train)} train and "
        f"{len(prompts.validation)} validation prompts, {len(prompts.rejected)} rows left out"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("reward", "seed", "line", "steps", "answers", "scores"):
        table.add_column(title, overflow="fold", justify="left" if title in ("reward", "line") else "right")
    for arm in arms:
        trained = max(arm.checkpoint_steps(), default=0)
        table.add_row(
            arm.reward,
            str(arm.seed),
            study.rewards[arm.reward],
            f"{trained}/{study.training.steps}",
            f"{len(arm.rollout_steps())}/{len(steps)}",
            f"{len(arm.score_steps())}/{len(steps)}",
        )
    console.print(table)
    rollouts = len(arms) * study.training.steps * study.training.batch_size
    answers = (len(arms) * (len(steps) - 1) + 1) * len(prompts.validation)
    console.print(
        f"{rollouts:,} training rollouts of at most {study.training.max_new_tokens} tokens; {answers:,} validation "
        f"answers of at most {study.validation.max_new_tokens}, at steps {', '.join(map(str, steps))}"
    )
    memory = policy_memory(study)
    console.print(
        f"policy memory {memory.total / GIB:.2f} GiB: weights {memory.weights / GIB:.2f}, adapter with optimizer "
        f"{memory.trained / GIB:.2f}, keys and values while sampling {memory.cache / GIB:.2f}; activations come on top"
    )
