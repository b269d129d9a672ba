"""`proxygold eval vicuna-bench`."""

from __future__ import annotations

from typing import Annotated

import typer

from proxygold.cli.evals.fastchat import (
    JudgePromptsOption,
    JudgmentsOption,
    MaxNewTokensOption,
    Mode,
    QuestionsOption,
    ReferencesOption,
    RepeatsOption,
    StrictOption,
    TemperatureOption,
    TopKOption,
    run_fastchat,
)
from proxygold.cli.evals.judging import JudgeSettingsArgument
from proxygold.cli.evals.options import (
    AdapterOption,
    BaselineOption,
    BaseUrlOption,
    BatchSizeOption,
    CacheOption,
    ConcurrencyOption,
    DryRunOption,
    DtypeOption,
    EngineOption,
    ForceOption,
    JudgeOption,
    LimitOption,
    MaxCostOption,
    ModelOption,
    OutOption,
    OutputsOption,
    PriceInOption,
    PriceOutOption,
    RetriesOption,
    SeedOption,
    SystemOption,
    TemplateOption,
    TimeoutOption,
)

__all__ = ["vicuna_bench"]


def vicuna_bench(
    settings: JudgeSettingsArgument = None,
    *,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    outputs: OutputsOption = None,
    baseline: BaselineOption = None,
    questions: QuestionsOption = None,
    references: ReferencesOption = None,
    judge_prompts: JudgePromptsOption = None,
    judgments: JudgmentsOption = None,
    mode: Annotated[
        Mode, typer.Option(help="Compare two answers in both orders, or grade each alone.")
    ] = Mode.pairwise,
    judge: JudgeOption = None,
    repeats: RepeatsOption = 1,
    base_url: BaseUrlOption = None,
    price_in: PriceInOption = None,
    price_out: PriceOutOption = None,
    max_cost: MaxCostOption = None,
    dry_run: DryRunOption = False,
    concurrency: ConcurrencyOption = 16,
    timeout: TimeoutOption = 60.0,
    retries: RetriesOption = 5,
    cache: CacheOption = None,
    template: TemplateOption = "chat",
    system: SystemOption = None,
    engine: EngineOption = "auto",
    dtype: DtypeOption = "auto",
    batch_size: BatchSizeOption = 16,
    max_new_tokens: MaxNewTokensOption = 1024,
    temperature: TemperatureOption = None,
    top_k: TopKOption = 0,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    strict: StrictOption = False,
) -> None:
    """Vicuna-Bench: a judge compares answers to 80 questions with those of a baseline, such as the SFT start.

    Each two answers are shown in both orders; a disagreement is a tie. The adjusted win rate is wins and half of the
    ties, of all games. Without --baseline, each model plays each.

    Questions, reference answers and judge prompts are FastChat's files as they are, and so is what is written:
    model_answer/ and model_judgment/ in --out. Without --judge the answers are written and nothing is judged.
    """
    from proxygold.evaluation.fastchat.vicuna_bench import VICUNA_BENCH, evaluate_vicuna_bench

    run_fastchat(
        VICUNA_BENCH,
        evaluate_vicuna_bench,
        mode=mode,
        questions=questions,
        references=references,
        judge_prompts=judge_prompts,
        judgments=judgments,
        baseline=baseline,
        repeats=repeats,
        limit=limit,
        sampling={"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "seed": seed},
        named={"models": model, "adapters": adapter, "outputs": outputs},
        answering={
            "template": template,
            "system": system,
            "engine": engine,
            "dtype": dtype,
            "batch_size": batch_size,
            "force": force,
        },
        judging={
            "judge": judge,
            "settings": settings,
            "base_url": base_url,
            "price_in": price_in,
            "price_out": price_out,
            "max_cost": max_cost,
            "concurrency": concurrency,
            "timeout": timeout,
            "retries": retries,
            "cache": cache,
            "dry_run": dry_run,
        },
        out=out,
        strict=strict,
    )
