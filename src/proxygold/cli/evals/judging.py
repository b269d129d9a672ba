"""The judge of a benchmark, out of the command line's options."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxygold.errors import ConfigError

if TYPE_CHECKING:
    from proxygold.evaluation.judges.judging import Judge

__all__ = ["JudgeSettingsArgument", "judge_from_options", "judge_if_asked"]

JudgeSettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Sent to the judge as it is, such as max_completion_tokens=2000 or temperature=null (to send none).",
        show_default=False,
    ),
]


@contextmanager
def judge_from_options(
    judge: str | None,
    *,
    defaults: Mapping[str, Any],
    settings: Sequence[str] | None = None,
    base_url: str | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    max_cost: float | None = None,
    concurrency: int = 16,
    timeout: float = 60.0,
    retries: int = 5,
    cache: Path | None = None,
    dry_run: bool = False,
) -> Iterator[Judge]:
    """The judge that `--judge` names. `defaults`: the benchmark's parameters, which `settings` (KEY=VALUE) go over.

    What it will take is told before anything is asked, and what it took when the block ends, on standard error. Under
    `dry_run` nobody is asked, and at the end of the block the command ends (typer.Exit) with the estimate printed. So
    open the judge inside what `run_evaluation` calls: results are then not written. Raises ConfigError when there is no
    `judge`, or for settings that no judge of a file would read.
    """
    from proxygold.cli.llm_parameters import read_parameters
    from proxygold.evaluation.judges.judging import REPLAY, DryJudge, open_judge
    from proxygold.models.bundled import cache_directory

    if judge is None:
        raise ConfigError("there is no judge. Give --judge MODEL, a model's name at the endpoint, or replay:PATH.")
    if judge.startswith(REPLAY) and (settings or base_url):
        given = " ".join(settings or ()) or "--base-url"
        raise ConfigError(f"{given} is for a judge that is asked, and this is --judge {judge}. Leave one of them out.")
    with open_judge(
        judge,
        parameters=read_parameters(settings or (), defaults),
        base_url=base_url,
        price_in=price_in,
        price_out=price_out,
        max_cost=max_cost,
        concurrency=concurrency,
        timeout=timeout,
        retries=retries,
        cache=cache or cache_directory() / "llm.sqlite",
        tell=_tell,
    ) as opened:
        if dry_run:
            dry = DryJudge(opened)
            yield dry
            for sentence in [line for each in dry.estimates for line in each.sentences("question")]:
                print(sentence)
            raise typer.Exit
        try:
            yield opened
        finally:
            _tell(_spent(opened.about))


def judge_if_asked(judge: str | None, **options: Any) -> AbstractContextManager[Judge | None]:
    """`judge_from_options` for a benchmark that can do without: no judge where none is named, but for a dry run."""
    if judge is None and not options.get("dry_run"):
        return nullcontext()
    return judge_from_options(judge, **options)


def _spent(about: Mapping[str, Any]) -> str:
    """What the judge of a run took, in a sentence."""
    calls = about.get("calls_in_this_run")
    if calls is None:
        return f"replayed {about['model']}: nothing was asked"
    cost = "" if about["cost_of_this_run"] is None else f", {about['cost_of_this_run']:.4g} spent"
    return f"asked {about['model']}: {calls:,} {'call' if calls == 1 else 'calls'} in this run{cost}"


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)
