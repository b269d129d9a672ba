"""The plan of a study: what each stage will do and how much memory the policy takes, without running anything.

With `policy.shape` it needs no download: prompts, gold and policy that are on the hub are not looked at, and said to be
so. Without, they are looked for as the run would, and what is wrong with them is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from proxygold.data.source_settings import SourceSettings
from proxygold.features.registry import find_feature
from proxygold.models.hub import is_here
from proxygold.models.prompt_tokens import load_prompt_tokens
from proxygold.models.reward_models import GOLD_MINI
from proxygold.records import PromptRecord
from proxygold.rewards.runtime import Reward
from proxygold.rewards.tree import FeatureUse, RewardModelUse, walk
from proxygold.store import RunDirectory
from proxygold.study.begin import parse_rewards
from proxygold.study.changes import allowed_changes
from proxygold.study.config import Study
from proxygold.study.memory import ASSUMED_PROMPT_TOKENS, policy_memory
from proxygold.study.prompts import read_split, read_study_prompts
from proxygold.study.scoring import check_gold
from proxygold.training.ppo_config import PPOConfig

__all__ = ["print_plan"]

GIB = 2**30
AWAY = " (not on this machine, not looked at)"
# The longest prompts by their characters, of which the longest by its tokens is taken.
_TOKENISED = 64


def print_plan(
    study: Study,
    runs: Path,
    console: Console | None = None,
    *,
    processes: int = 1,
    gold_later: bool = False,
) -> None:
    """Print what `proxygold run` would do, and what of it is done already; memory is that of one of `processes`.

    Raises what the run would before it trains: for another study of the same name, a reward line, gold, the prompts;
    with a `policy.shape`, only for what is on this machine.
    """
    console = console or Console()
    run = RunDirectory(runs / study.name)
    if run.exists():
        allowed_changes(run, study)
    rewards = parse_rewards(study, study.rewards)
    offline = study.policy.shape is not None
    gold_is_here = not offline or study.gold.is_remote or study.gold.model == GOLD_MINI or is_here(study.gold.model)
    if gold_is_here and not gold_later:
        check_gold(study.gold)
    prompts, overlap = _prompts(study, offline=offline)
    console.print(f"study [bold]{study.name}[/]  in {run.path}{'  (begun)' if run.exists() else ''}")
    policy_is_here = not offline or is_here(study.policy.model)
    console.print(
        f"policy {study.policy.model}{'' if policy_is_here else AWAY}, gold {study.gold.name}"
        f"{' (left for later)' if gold_later else '' if gold_is_here else AWAY}"
    )
    for split, each in prompts.items():
        console.print(f"{split} prompts: {each}")
    for note in overlap:
        console.print(f"overlap: {note}", highlight=False, markup=False)
    _print_arms(study, run, console)
    _print_work(study, prompts, console)
    _print_memory(study, rewards, prompts["train"].records, processes, console)


# --- prompts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Prompts:
    """One set of prompts: its records, or of one that was not read, where it is and the most it will have."""

    records: tuple[PromptRecord, ...] = ()
    rejected: int = 0
    away: str = ""
    most: int | None = None

    @property
    def count(self) -> int | None:
        return self.most if self.away else len(self.records)

    def __str__(self) -> str:
        if self.away:
            return f"{'all' if self.most is None else f'at most {self.most:,}'} of {self.away}{AWAY}"
        return f"{len(self.records):,}" + (f" ({self.rejected:,} rows left out)" if self.rejected else "")


def _prompts(study: Study, *, offline: bool) -> tuple[dict[str, _Prompts], Sequence[str]]:
    """The sets by name, and what the overlap check found; nothing of that where a set is not read."""
    data = study.data
    given: dict[str, tuple[SourceSettings, int | None]] = {
        "train": (data.train, data.train_limit),
        "validation": (data.validation, data.validation_limit),
    }
    if data.dev is not None:
        given["dev"] = (data.dev, data.dev_limit)
    if offline and any(source.needs_download for source, _ in given.values()):
        return {split: _read_if_here(split, source, limit) for split, (source, limit) in given.items()}, ()
    read = read_study_prompts(data)
    rejected = [row["split"] for row in read.rejected]
    records = {"train": read.train, "validation": read.validation, "dev": read.dev}
    return {split: _Prompts(records[split], rejected.count(split)) for split in given}, read.notes


def _read_if_here(split: str, source: SourceSettings, limit: int | None) -> _Prompts:
    if not source.needs_download:
        records, rejected = read_split(source, split, limit)
        return _Prompts(records, len(rejected))
    return _Prompts(away=str(source), most=min((n for n in (limit, source.limit) if n is not None), default=None))


# --- what is printed --------------------------------------------------------------------------------------------------


def _print_arms(study: Study, run: RunDirectory, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("reward", "seed", "line", "steps", "answers", "scores"):
        table.add_column(title, overflow="fold", justify="left" if title in ("reward", "line") else "right")
    steps = study.validation_steps
    for name in study.rewards:
        for seed in study.seeds:
            arm = run.arm(name, seed)
            trained = max(arm.checkpoint_steps(), default=0)
            table.add_row(
                name,
                str(seed),
                study.rewards[name],
                f"{trained}/{study.training.steps}",
                f"{len(arm.rollout_steps())}/{len(steps)}",
                f"{len(arm.score_steps())}/{len(steps)}",
            )
    console.print(table)


def _print_work(study: Study, prompts: dict[str, _Prompts], console: Console) -> None:
    training, arms = study.training, len(study.rewards) * len(study.seeds)
    epochs = training.ppo_epochs if isinstance(training, PPOConfig) else training.num_iterations
    updates = epochs * training.batch_size // (training.rollouts_per_pass * training.gradient_accumulation_steps)
    rollouts = arms * training.steps * training.batch_size
    console.print(
        f"{training.steps:,} {training.algorithm.upper()} steps for each reward and seed, of {training.batch_size} "
        f"rollouts and {updates} update{'s' if updates > 1 else ''}; {rollouts:,} training rollouts in all, of at most "
        f"{training.max_new_tokens} tokens"
    )
    answered = [("validation", study.validation_steps, study.validation.max_new_tokens)]
    if "dev" in prompts:
        answered.append(("dev", study.choice_steps, training.max_new_tokens))
    for split, steps, tokens in answered:
        times = arms * (len(steps) - 1) + 1  # step 0 is the start policy's, shared by all
        count = prompts[split].count
        most = "at most " if prompts[split].away else ""
        answers = (
            f"{times:,} times the {split} prompts" if count is None else f"{most}{times * count:,} {split} answers"
        )
        console.print(f"{answers} of at most {tokens} tokens, at steps {', '.join(map(str, steps))}")


def _print_memory(
    study: Study, rewards: Mapping[str, Reward], records: Sequence[PromptRecord], processes: int, console: Console
) -> None:
    longest = _longest(study, records)
    tokens = ASSUMED_PROMPT_TOKENS if longest is None else longest
    memory = policy_memory(study, tokens, processes)
    phases = {
        "sampling": memory.sampling,
        "comparing with the reference": memory.comparing,
        "updating": memory.updating,
    }
    parts = {
        "weights": memory.weights,
        "adapter with optimizer": memory.trained,
        "hidden states below the adapter": memory.kept,
    }
    each = f" of each of {processes} processes" if processes > 1 else ""
    console.print(
        f"policy memory{each} at most {memory.peak / GIB:.2f} GiB: "
        + ", ".join(f"{name} {count / GIB:.2f}" for name, count in parts.items() if count)
        + "; then, one after the other, "
        + ", ".join(f"{name} {count / GIB:.2f}" for name, count in phases.items())
    )
    console.print(
        f"  for prompts of {tokens:,} tokens ({'taken as such' if longest is None else 'the longest there is'}) and "
        f"completions of {study.training.max_new_tokens:,}"
    )
    if others := _others(rewards):
        console.print(f"  on top of it: {', '.join(others)}")


def _longest(study: Study, records: Sequence[PromptRecord]) -> int | None:
    """Tokens of the longest prompt; None where prompts, or the policy that would read them, are not here."""
    if not records or not is_here(study.policy.model):
        return None
    tokens = load_prompt_tokens(study.policy)
    longest = sorted(records, key=lambda record: len(str(record.prompt)))[-_TOKENISED:]
    lengths = [len(tokens.encode(record.prompt)) for record in longest]
    room = (tokens.context_length or max(lengths) + study.training.max_new_tokens) - study.training.max_new_tokens
    # What has no room for an answer is left out of a run.
    return max((length for length in lengths if length <= room), default=room)


def _others(rewards: Mapping[str, Reward]) -> list[str]:
    """The models that score while the policy trains."""
    nodes = [node for reward in rewards.values() for node in walk(reward.tree)]
    models = [node.settings for node in nodes if isinstance(node, RewardModelUse)]
    found = [f"reward model {each.name}" for each in models if not each.is_remote]
    features = [find_feature(node.name) for node in nodes if isinstance(node, FeatureUse)]
    encoders = {reward.settings.encoder.model for reward in rewards.values()}
    if any(feature is not None and feature.uses_encoder for feature in features):
        found += [f"encoder {name}" for name in sorted(encoders)]
    return list(dict.fromkeys(found))
