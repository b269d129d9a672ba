"""What `vicuna-bench` and `mt-bench` share: the options for FastChat's files, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxygold.errors import ConfigError

if TYPE_CHECKING:
    from proxygold.evaluation.directory import EvaluationDirectory
    from proxygold.evaluation.progress import EvalProgress
    from proxygold.evaluation.results import Evaluation

__all__ = [
    "JudgePromptsOption",
    "JudgmentsOption",
    "MaxNewTokensOption",
    "Mode",
    "QuestionsOption",
    "ReferencesOption",
    "RepeatsOption",
    "StrictOption",
    "TemperatureOption",
    "TopKOption",
    "run_fastchat",
]

_FILES, _ANSWERS, _JUDGE = "FastChat's files", "Whose answers", "The judge"


class Mode(StrEnum):
    """How answers are judged."""

    single = "single"
    pairwise = "pairwise"


QuestionsOption = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        metavar="FILE|DIR",
        help="FastChat's question.jsonl, or the directory that holds it. With --judgments only for the categories.",
        rich_help_panel=_FILES,
        show_default=False,
    ),
]
ReferencesOption = Annotated[
    Path | None,
    typer.Option(
        "--references",
        metavar="FILE",
        help="Reference answers for math, reasoning and coding. \\[default: reference_answer/ beside the questions: "
        "JUDGE.jsonl, else gpt-4.jsonl]",
        rich_help_panel=_FILES,
        show_default=False,
    ),
]
JudgePromptsOption = Annotated[
    Path | None,
    typer.Option(
        "--judge-prompts",
        metavar="FILE",
        help="FastChat's judge_prompts.jsonl. \\[default: proxygold's own prompts]",
        rich_help_panel=_FILES,
        show_default=False,
    ),
]
JudgmentsOption = Annotated[
    Path | None,
    typer.Option(
        "--judgments",
        metavar="FILE",
        help="Judgments that exist already (JUDGE_single.jsonl, JUDGE_pair.jsonl): only count them.",
        rich_help_panel=_FILES,
        show_default=False,
    ),
]
RepeatsOption = Annotated[
    int,
    typer.Option(
        "--repeats",
        min=1,
        help="Ask the judge so many times about each answer, and report how much it disagrees with itself.",
        rich_help_panel=_JUDGE,
    ),
]
MaxNewTokensOption = Annotated[
    int, typer.Option("--max-new-tokens", min=1, help="Tokens of an answer at most.", rich_help_panel=_ANSWERS)
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        min=0,
        help="Of the sampling; 0 is greedy. \\[default: FastChat's of each category]",
        rich_help_panel=_ANSWERS,
        show_default=False,
    ),
]
TopKOption = Annotated[
    int,
    typer.Option(
        "--top-k", min=0, help="Sample from so many tokens; 0 is all, FastChat's is 50.", rich_help_panel=_ANSWERS
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 2 when anything was left out or could not be judged.")
]


def run_fastchat(
    benchmark: str,
    evaluate: Callable[..., Evaluation],
    *,
    mode: Mode,
    questions: Path | None,
    references: Path | None,
    judge_prompts: Path | None,
    judgments: Path | None,
    baseline: str | None,
    repeats: int,
    limit: int | None,
    sampling: Mapping[str, Any],
    named: Mapping[str, Sequence[str] | None],
    answering: Mapping[str, Any],
    judging: Mapping[str, Any],
    out: Path | None,
    strict: bool,
) -> None:
    """Have models answer and a judge judge, or count judgments that exist.

    `named`: `models`, `adapters` and `outputs`; `answering`: the other arguments of `open_subjects`; `judging`: those
    of `judge_from_options`. Raises ConfigError for options that do not go together.
    """
    from proxygold.cli.evals.judging import judge_from_options
    from proxygold.cli.evals.running import run_evaluation
    from proxygold.evaluation.answers.subjects import open_subjects
    from proxygold.evaluation.fastchat.answers import ChatSampling
    from proxygold.evaluation.fastchat.bench import JUDGE_PARAMETERS, ChatBenchSettings
    from proxygold.evaluation.fastchat.recorded_judgments import evaluate_judgments

    if judgments is not None:
        _check_recorded(named, judging["judge"])
        counted = evaluate_judgments(benchmark, judgments, mode.value, questions=questions, baseline=baseline)
        run_evaluation(benchmark, out, [], lambda directory, progress: counted, strict=strict)
        return
    if questions is None:
        raise ConfigError(
            f"{benchmark} needs its questions: --questions FILE. They are in FastChat's repository, "
            f"fastchat/llm_judge/data/{benchmark.replace('-', '_')}/question.jsonl."
        )
    if judging["judge"] is None and (judging["dry_run"] or judging["settings"]):
        raise ConfigError("there is no judge to be asked. Give --judge MODEL, a model's name at the endpoint.")
    settings = ChatBenchSettings(
        questions=questions,
        mode=mode.value,
        references=references,
        judge_prompts=judge_prompts,
        baseline=baseline,
        repeats=repeats,
        limit=limit,
        sampling=ChatSampling(**sampling),
    )
    subjects = open_subjects(named["models"], named["adapters"], named["outputs"], **answering)

    def judged(directory: EvaluationDirectory, progress: EvalProgress) -> Evaluation:
        if judging["judge"] is None:
            return evaluate(subjects, settings, directory, progress, None)
        with judge_from_options(**judging, defaults=JUDGE_PARAMETERS) as judge:
            return evaluate(subjects, settings, directory, progress, judge)

    run_evaluation(benchmark, out, subjects, judged, strict=strict)


def _check_recorded(named: Mapping[str, Sequence[str] | None], judge: str | None) -> None:
    given = [f"--{key.removesuffix('s') if key != 'outputs' else key}" for key, value in named.items() if value]
    if judge is not None:
        given.append("--judge")
    if given:
        raise ConfigError(f"--judgments only counts judgments that exist, and {given[0]} was given too. Leave one out.")
