"""`proxygold eval`: the benchmarks, one file each in `evals/`."""

from __future__ import annotations

from collections.abc import Callable

import typer

from proxygold.cli.evals.alignment_tax import EXAMPLES as ALIGNMENT_TAX
from proxygold.cli.evals.alignment_tax import alignment_tax
from proxygold.cli.evals.alpaca_eval import EXAMPLES as ALPACA_EVAL
from proxygold.cli.evals.alpaca_eval import alpaca_eval
from proxygold.cli.evals.mt_bench import mt_bench
from proxygold.cli.evals.responses import EXAMPLES as RESPONSES
from proxygold.cli.evals.responses import responses
from proxygold.cli.evals.reward_bench import reward_bench
from proxygold.cli.evals.self_bleu import self_bleu
from proxygold.cli.evals.super_ni import super_ni
from proxygold.cli.evals.toxigen import toxigen
from proxygold.cli.evals.vicuna_bench import vicuna_bench

__all__ = ["BENCHMARKS", "app"]

app = typer.Typer(
    help="Run a benchmark on models, adapters, or answers that exist already, with error bars.",
    no_args_is_help=True,
)

# Each benchmark with examples of its use.
BENCHMARKS: tuple[tuple[Callable[..., None], str], ...] = (
    (alpaca_eval, ALPACA_EVAL),
    (
        vicuna_bench,
        "proxygold eval vicuna-bench --model sft=sft/model --model RER=runs/hh/RER/seed-0/checkpoints/step-5000 "
        "--baseline sft --questions vicuna_bench --judge-prompts judge_prompts.jsonl --judge gpt-4\n\n"
        "proxygold eval vicuna-bench --judgments gpt-4_pair.jsonl --baseline sft",
    ),
    (
        mt_bench,
        "proxygold eval mt-bench --model my/model --questions mt_bench/question.jsonl --judge gpt-4.1-mini "
        "--repeats 3\n\n"
        "proxygold eval mt-bench --outputs mt_bench/model_answer/vicuna-7b-v1.5.jsonl --questions mt_bench "
        "--judge-prompts judge_prompts.jsonl --judge gpt-4 --price-in 30 --price-out 60 --dry-run",
    ),
    (
        super_ni,
        "proxygold eval super-ni --data natural-instructions --model SFT=sft/model --model "
        "RER=runs/alpacafarm/RER/seed-0/checkpoints/step-5000 --template alpaca --baseline SFT\n\n"
        "proxygold eval super-ni --data natural-instructions --protocol official --examples 2 --model my/model\n\n"
        "proxygold eval super-ni --data instances.jsonl --outputs predictions.jsonl",
    ),
    (
        toxigen,
        "proxygold eval toxigen --data TOXIGEN/prompts --model my/model --baseline my/model --model other/model\n\n"
        "proxygold eval toxigen --data prompts.jsonl --model base/model --template none --form continue\n\n"
        "proxygold eval toxigen --data prompts.jsonl --outputs predictions.jsonl --classifier my/classifier "
        "--toxic-label 1",
    ),
    (
        reward_bench,
        "proxygold eval reward-bench --reward LI --reward 'LI * RP' --model gold-mini\n\n"
        "proxygold eval reward-bench --reward RER --encoder facebook/contriever --pairs typed.jsonl "
        "--references answers.jsonl\n\n"
        "proxygold eval reward-bench --reward AR --model mine=my/reward-model --pairs held_out.jsonl --baseline AR",
    ),
    (
        self_bleu,
        "proxygold eval self-bleu --outputs samples.jsonl\n\n"
        "proxygold eval self-bleu --model SFT=sft-hh/model --model RER=runs/hh/RER/seed-0/checkpoints/step-5000 "
        "--template hh --baseline SFT --query-types local\n\n"
        "proxygold eval self-bleu --model smollm2-135m-instruct --prompts builtin --limit 20 --max-new-tokens 128",
    ),
    (responses, RESPONSES),
    (alignment_tax, ALIGNMENT_TAX),
)
