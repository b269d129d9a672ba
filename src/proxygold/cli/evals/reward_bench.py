"""`proxygold eval reward-bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxygold.cli.evals.options import BaselineOption, ForceOption, LimitOption, OutOption, QueryTypesOption
from proxygold.cli.reward_options import CalibrateOption, EncoderOption, PluginOption, SettingsArgument

__all__ = ["reward_bench"]

_REWARDS, _PAIRS = "The rewards", "The pairs"


def reward_bench(
    settings: SettingsArgument = None,
    *,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            "--reward",
            metavar="[NAME=]LINE",
            help="A reward line, such as 'LI * RP', or RER. More than once to compare several.",
            rich_help_panel=_REWARDS,
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="[NAME=]MODEL",
            help="A reward model: gold-mini, a directory or a hub id. One that needs settings is a line: "
            '--reward \'RM("MODEL", template="chatml")\'.',
            rich_help_panel=_REWARDS,
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            "--scores",
            metavar="[NAME=]FILE",
            help="Scores that exist already: RewardBench's file of them, or rows with id, scores_chosen and "
            "scores_rejected.",
            rich_help_panel=_REWARDS,
            show_default=False,
        ),
    ] = None,
    encoder: EncoderOption = None,
    plugin: PluginOption = None,
    calibrate: CalibrateOption = None,
    baseline: BaselineOption = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--pairs",
            metavar="FILE|hub:NAME",
            help="Pairs to test on: rows of prompt, chosen, rejected, and perhaps id, subset, reference, query_type. "
            "More than once for more. \\[default: RewardBench's, from the hub]",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references",
            metavar="FILE",
            help="Reference answers or query types for the pairs: rows with id or prompt, and reference or query_type.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None,
    query_types: QueryTypesOption = None,
    limit: LimitOption = None,
    out: OutOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 2 when rows were no pairs, or pairs have no score.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """How often a reward prefers the better of two answers, beside what preferring the longer one would get.

    Accuracies are in per cent: pooled over all pairs, the mean of RewardBench's sections, each section, and in the
    files each subset. Beside each stand, on the same pairs: preferring the longer answer, preferring the shorter one,
    tossing a coin, and the reward's own accuracy where the two answers are nearly equally long. A tie is wrong.

    A pair that cannot be scored, for want of a reference say, is counted and listed, never guessed. A reference that is
    the chosen answer itself is not used.

    Scores are written as they come, and the same command goes on after a stop.
    """
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.reward_bench.benchmark import (
        BENCHMARK,
        PUBLISHED_PAIRS,
        RewardBenchSettings,
        evaluate_reward_bench,
    )
    from proxygold.evaluation.reward_bench.rewards import open_rewards

    rewards = open_rewards(
        reward or (),
        model or (),
        scores or (),
        encoder=encoder,
        settings=settings or (),
        plugins=plugin or (),
        calibrate=calibrate,
    )
    chosen = RewardBenchSettings(tuple(pairs or [PUBLISHED_PAIRS]), references, query_types, limit, baseline, force)
    run_evaluation(
        BENCHMARK,
        out,
        (),
        lambda directory, progress: evaluate_reward_bench(rewards, chosen, directory, progress),
        strict=strict,
    )
