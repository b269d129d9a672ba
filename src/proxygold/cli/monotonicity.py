"""`proxygold monotonicity`: does gold follow the proxy?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxygold.errors import ConfigError

__all__ = ["monotonicity"]


def monotonicity(
    run: Annotated[Path | None, typer.Argument(help="A run directory, such as runs/NAME.")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Instead of RUN, a Parquet or JSONL table: step, prompt_id, proxy, gold[, query_type, seed, reward]."
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=100, help="Bootstrap draws. \\[default: the study's, else 10000]")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the draws. \\[default: the study's, else 0]")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1.0,
            max=1.0,
            help="What Spearman's interval must lie above for a success. \\[default: the study's, else 0.8]",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every number here as well, as JSON.")] = None,
) -> None:
    """Say whether gold follows the proxy over the checkpoints of a run.

    For each reward and seed: Spearman, Kendall and Pearson between the mean proxy and the mean gold reward over
    checkpoints (step 0 included), gains over step 0, gold's drawdown from its peak, all with 95% bootstrap intervals
    over prompts, and a verdict:

    success: both rose and rank alike. over-optimised: gold fell. unrelated: gold does not follow. inconclusive: says
    what would settle it, and is the verdict on fewer than 6 checkpoints.

    A table on a terminal; when piped, tab-separated values, with the reasons and notes on standard error.
    """
    from proxygold.analysis.monotonicity import DRAWS, THRESHOLD
    from proxygold.analysis.results import analyse
    from proxygold.analysis.runs import analyse_run
    from proxygold.analysis.score_file import read_score_file
    from proxygold.report.table import print_monotonicity
    from proxygold.report.words import left_out
    from proxygold.store import RunDirectory, to_json, write_whole

    rejected = None
    if run is not None and scores is None:
        analysis = analyse_run(RunDirectory(run), draws=draws, seed=seed, threshold=threshold)
        rejected = left_out(RunDirectory(run))
    elif scores is not None and run is None:
        analysis = analyse(
            read_score_file(scores),
            draws=DRAWS if draws is None else draws,
            seed=0 if seed is None else seed,
            threshold=THRESHOLD if threshold is None else threshold,
        )
    else:
        given = "both RUN and --scores were" if run else "neither RUN nor --scores was"
        raise ConfigError(f"{given} given; give one: a run directory such as runs/NAME, or --scores FILE.")
    print_monotonicity(analysis, left_out=rejected)
    if json is not None:
        write_whole(json, to_json(analysis.as_dict()) + "\n")
        typer.echo(f"wrote {json}", err=True)
