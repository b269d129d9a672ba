"""The monotonicity table for people at a terminal, and as tab-separated values for whatever it is piped into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxygold.analysis.bootstrap import Estimate
from proxygold.analysis.monotonicity import Monotonicity
from proxygold.analysis.results import RewardAnalysis, RunAnalysis
from proxygold.analysis.verdict import INCONCLUSIVE, OVER_OPTIMISED, SUCCESS, UNRELATED
from proxygold.report.numbers import correlation, interval, measured, p_value

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ALL_PROMPTS", "Row", "print_monotonicity", "rows"]

ALL_PROMPTS = "all prompts"
STYLES = {SUCCESS: "green", OVER_OPTIMISED: "red", UNRELATED: "magenta", INCONCLUSIVE: "yellow"}


@dataclass(frozen=True, slots=True)
class Row:
    """One analysis: a reward and a seed on `prompts` (all of them, or those of one query type)."""

    reward: str
    seed: int
    prompts: str
    result: Monotonicity


def rows(analysis: RewardAnalysis) -> Iterator[Row]:
    """The rows of one reward: for each seed all prompts, then each query type."""
    for seed in analysis.seeds:
        yield Row(analysis.reward, seed.seed, ALL_PROMPTS, seed.overall)
        for query_type, result in seed.by_query_type.items():
            yield Row(analysis.reward, seed.seed, query_type.replace("_", "-"), result)


def print_monotonicity(
    analysis: RunAnalysis,
    console: Console | None = None,
    *,
    remarks: Console | None = None,
    left_out: str | None = None,
) -> None:
    """Print the verdicts and the table: rich on a terminal, tab-separated with a header line otherwise.

    A table that is piped has numbers and names alone. All that is said beside them (why, what would settle it, notes,
    and `left_out`, what was left out before) then goes to `remarks`, standard error if that is None.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    if not console.is_terminal:
        for line in tab_separated(analysis):
            console.file.write(line + "\n")
        remarks = remarks or Console(stderr=True)
        for reward in analysis.rewards:
            verdict = reward.verdict
            remarks.print(Text(f"{reward.reward}: {verdict.name}. {verdict.reason}"), soft_wrap=True)
            for line in (*_summary(reward), *_notes(reward)):
                remarks.print(Text(f"{reward.reward}: {line}"), soft_wrap=True)
        for line in _closing_remarks(analysis, left_out):
            remarks.print(Text(line), soft_wrap=True)
        return
    for reward in analysis.rewards:
        _print_reward(reward, console)
    for line in _closing_remarks(analysis, left_out):
        console.print(Text(line, style="dim"))


def _summary(reward: RewardAnalysis) -> Iterator[str]:
    """What would settle the verdict, and the spread over seeds."""
    if reward.verdict.settle:
        yield f"What would settle it: {reward.verdict.settle}"
    if len(reward.seeds) > 1:
        spread = reward.spearman_spread
        yield (
            f"Spearman over {len(reward.seeds)} seeds: mean {correlation(spread.mean)}, "
            f"from {correlation(spread.low)} to {correlation(spread.high)}"
        )


def _notes(reward: RewardAnalysis) -> Iterator[str]:
    for seed in reward.seeds:
        for note in (*seed.notes, *seed.overall.notes):
            yield f"Note{f' (seed {seed.seed})' if len(reward.seeds) > 1 else ''}: {note}"


def _closing_remarks(analysis: RunAnalysis, left_out: str | None) -> Iterator[str]:
    """What holds for every reward: prompts that were left out, notes on the run, and what the numbers are."""
    for note in (*([left_out] if left_out else ()), *analysis.notes):
        yield f"Note: {note}"
    yield (
        f"95% percentile intervals over prompts, {analysis.draws:,} draws, seed {analysis.seed}; success needs "
        f"Spearman above {analysis.threshold:g}. The permutation p-value is descriptive: checkpoints are "
        "autocorrelated."
    )


def _print_reward(reward: RewardAnalysis, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    verdict = reward.verdict
    console.print(Text.assemble((reward.reward, "bold"), "  ", (verdict.name, f"bold {STYLES[verdict.name]}")))
    console.print(Text(verdict.reason))
    for line in _summary(reward):
        console.print(Text(line))
    several = len(reward.seeds) > 1
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("", "Spearman", "Kendall", "Pearson", "n", "proxy gain", "gold gain", "gold drawdown", "p"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in rows(reward):
        result = row.result
        whole = f"seed {row.seed}" if several else row.prompts
        table.add_row(
            f"{whole if row.prompts == ALL_PROMPTS else f'  {row.prompts}'}\n  {result.prompts} prompts",
            f"{correlation(result.spearman.value)}\n{interval(result.spearman, of_correlation=True)}",
            correlation(result.kendall),
            correlation(result.pearson),
            str(result.checkpoints),
            *(f"{measured(e, sign=True)}\n{interval(e)}" for e in (result.proxy_gain, result.gold_gain)),
            f"{measured(result.drawdown.fall)}\n{interval(result.drawdown.fall)}",
            p_value(result.permutation_p),
        )
    console.print(table)
    for note in _notes(reward):
        console.print(Text(note, style="dim"))
    console.print()


def tab_separated(analysis: RunAnalysis) -> Iterator[str]:
    """A header line and a line for each row, full precision, intervals in columns of their own. Empty: not defined.

    The last columns are the reward's, over its seeds, and the same in each of its rows.
    """
    estimates = ("spearman", "proxy_gain", "gold_gain", "drawdown")
    header = ["reward", "seed", "prompts", "verdict", "n_checkpoints", "n_prompts", "n_left_out"]
    for name in estimates:
        header += [name, f"{name}_low", f"{name}_high"]
    over_seeds = ["reward_verdict", "n_seeds", "spearman_mean", "spearman_min", "spearman_max"]
    yield "\t".join([*header, "kendall", "pearson", "permutation_p", *over_seeds])
    for reward in analysis.rewards:
        spread = reward.spearman_spread
        seeds = [reward.verdict.name, str(len(reward.seeds)), *map(_cell, (spread.mean, spread.low, spread.high))]
        for row in rows(reward):
            result = row.result
            cells = [row.reward, str(row.seed), row.prompts, result.verdict.name]
            cells += [str(n) for n in (result.checkpoints, result.prompts, result.left_out)]
            for estimate in (result.spearman, result.proxy_gain, result.gold_gain, result.drawdown.fall):
                cells += _cells(estimate)
            cells += [_cell(value) for value in (result.kendall, result.pearson, result.permutation_p)]
            yield "\t".join([*cells, *seeds])


def _cells(estimate: Estimate) -> list[str]:
    return [_cell(value) for value in (estimate.value, estimate.low, estimate.high)]


def _cell(value: float) -> str:
    return "" if value != value else f"{value:.6g}"  # NaN is the one number that differs from itself
