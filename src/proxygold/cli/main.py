"""The `proxygold` command: its verbs, and how errors become messages and exit codes.

Exit codes: 0 done, 2 bad input, 130 Ctrl-C, 1 anything else. Each verb is a file beside this one whose top
imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated, NoReturn

import typer

from proxygold.cli.annotate import annotate
from proxygold.cli.check import check
from proxygold.cli.demo import demo
from proxygold.cli.eval import BENCHMARKS
from proxygold.cli.eval import app as evaluate
from proxygold.cli.export import export
from proxygold.cli.generate import generate
from proxygold.cli.merge import merge
from proxygold.cli.monotonicity import monotonicity
from proxygold.cli.report import report
from proxygold.cli.rollout import rollout
from proxygold.cli.run import run
from proxygold.cli.score import score
from proxygold.cli.serve import serve
from proxygold.cli.train import app as train
from proxygold.cli.validate import validate
from proxygold.errors import ProxygoldError, TrainingError

__all__ = ["app", "main"]

_DEBUG = "PROXYGOLD_DEBUG"
# Verbs that go on from what an interrupted run has done.
_RESUMABLE = {"demo", "eval", "rollout", "run", "score", "train", "validate"}

# Which extra brings a package that only some verbs need.
_EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "sentence_transformers", "safetensors"), "encoder"),
    **dict.fromkeys(("accelerate", "datasets", "gguf", "peft", "trl"), "train"),
    **dict.fromkeys(("jinja2", "plotly"), "report"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "httpx", "prometheus_client"), "serve"),
    **dict.fromkeys(("rouge_score", "sacrebleu", "math_verify"), "features"),
    "openai": "llm",
    "ray": "scale",
    "bitsandbytes": "quantized",
}

app = typer.Typer(
    name="proxygold",
    help="Write a reward you can read, train a policy on it, and find out whether it stands in for the gold one.",
    epilog="Begin with: proxygold demo. Every verb explains itself: proxygold score --help.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # Errors are printed below, in our words.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Each verb with examples of its use.
_VERBS: tuple[tuple[Callable[..., None], str], ...] = (
    (demo, "proxygold demo\n\nproxygold demo training.steps=8"),
    (run, "proxygold run study.yaml --dry-run\n\nproxygold run study.yaml training.steps=1000 seeds='[0,1,2]'"),
    (
        score,
        "proxygold score answers.jsonl --reward 'LI * RP' --out scored.jsonl\n\n"
        "proxygold score answers.parquet --reward RER --out scored.parquet --encoder facebook/contriever\n\n"
        "proxygold score answers.jsonl.gz --reward QR --out scored.jsonl encoder.normalize=false\n\n"
        "proxygold score answers/ 'more/**/part-*.jsonl.zst' --reward 'LI * RP' --out scored.jsonl.zst --workers 8\n\n"
        "proxygold score hub:tatsu-lab/alpaca_eval:eval --reward LI --out scored.parquet\n\n"
        "proxygold score runs/alpacafarm --gold gold.model=/models/Starling-RM-34B gold.batch_size=4\n\n"
        "RAY_ADDRESS=auto proxygold score /shared/answers --reward RER --out /shared/scored.parquet "
        "--engine ray --workers 64",
    ),
    (
        check,
        "proxygold check --reward 'LI * RP'\n\n"
        "proxygold check --reward 'LI * RP * my_feature' --plugin my_features.py\n\n"
        "proxygold check --reward RER --encoder facebook/contriever --data answers.jsonl --json findings.json",
    ),
    (
        annotate,
        "proxygold annotate prompts.jsonl --out typed.jsonl\n\n"
        "proxygold annotate prompts.jsonl --out typed.jsonl --by llm --model gpt-4.1-mini "
        "--price-in 0.4 --price-out 1.6 --max-cost 5\n\n"
        "proxygold annotate prompts.parquet --out typed.parquet --by llm --model qwen3 --base-url "
        "http://localhost:8000/v1\n\n"
        "proxygold annotate typed.jsonl --out both.jsonl --name local_type --compare-with query_type\n\n"
        "proxygold annotate prompts.jsonl --out random.jsonl --by random --share 0.45 --seed 1",
    ),
    (
        monotonicity,
        "proxygold monotonicity runs/demo\n\nproxygold monotonicity --scores scores.parquet --json numbers.json",
    ),
    (report, "proxygold report runs/demo"),
    (
        validate,
        "proxygold validate --checkpoints 'grpo/checkpoint-*' --start my/sft-model --prompts validation.jsonl "
        "--reward 'LI * RP' --gold my/reward-model --out runs/grpo\n\n"
        "proxygold validate --checkpoints 'seed0/checkpoint-*' --checkpoints 'seed1/checkpoint-*' --prompts builtin "
        "--reward LI --gold gold-mini --out runs/adapters validation.max_new_tokens=256\n\n"
        "proxygold validate --out runs/grpo --reward 'LI * RP' --gold-later",
    ),
    (
        rollout,
        "proxygold rollout --checkpoints 'verl/global_step_*/actor/huggingface' --start my/sft-model "
        "--prompts validation.jsonl --template alpaca --out runs/verl",
    ),
    (
        merge,
        "proxygold merge runs/demo/LI_RP/seed-0/checkpoints/step-96 --out policy\n\n"
        "proxygold merge sft/model --out sft-merged --dtype bfloat16",
    ),
    (
        generate,
        "proxygold generate smollm2-135m-instruct --prompt 'Why is the sky blue?'\n\n"
        "proxygold generate runs/demo/LI_RP/seed-0/checkpoints/step-96 builtin --limit 5 --samples 2\n\n"
        "proxygold generate sft/model prompts.jsonl --template hh --out answers.jsonl",
    ),
    (
        serve,
        "proxygold serve --reward 'LI * RP'\n\n"
        "proxygold serve --reward RER --encoder facebook/contriever encoder.normalize=false --port 9000\n\n"
        "PROXYGOLD_API_KEY=… proxygold serve --reward 'LI * RP * QR' --host 0.0.0.0",
    ),
    (
        export,
        "proxygold export prompts.jsonl --to trl --reward 'LI * RP * QR' --model my/sft-model --out grpo\n\n"
        "proxygold export prompts.jsonl --to verl --reward RER --encoder facebook/contriever --model my/sft-model "
        "--validation validation.jsonl --out verl\n\n"
        "proxygold export builtin --to openrlhf --reward 'LI * RP' --model my/sft-model --out openrlhf",
    ),
)


def _paragraphs(docstring: str | None) -> str:
    """A docstring with each paragraph on one line, for the terminal to wrap at its own width."""
    return "\n\n".join(" ".join(part.split()) for part in cleandoc(docstring or "").split("\n\n"))


for _verb, _examples in _VERBS:
    app.command(help=_paragraphs(_verb.__doc__), epilog=f"[bold]Examples[/bold]\n\n{_examples}")(_verb)
app.add_typer(train, name="train")  # its kinds of training are verbs of their own
for _verb, _examples in BENCHMARKS:
    _command = evaluate.command(
        name=_verb.__name__.replace("_", "-"),
        help=_paragraphs(_verb.__doc__),
        epilog=f"[bold]Examples[/bold]\n\n{_examples}" if _examples else None,
    )
    _command(_verb)
app.add_typer(evaluate, name="eval")


def _print_version(wanted: bool) -> None:
    if wanted:
        from proxygold import __version__

        typer.echo(f"proxygold {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show the traceback of an error. The same as {_DEBUG}=1.")
    ] = False,
) -> None:
    if debug:
        os.environ[_DEBUG] = "1"


def main() -> NoReturn:
    """Run the command line and exit with the code that says how it went."""
    # Before torch is loaded, which reads them once: threads that spin while they wait for each other made a PPO step 3
    # to 6 times slower on cores shared with another job, threads that sleep at once make it slower on idle ones. A
    # short spin is between the two on shared cores, and faster than both on idle ones (docs/LOG.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        app()
    except ProxygoldError as error:
        _fail(str(error), code=1 if isinstance(error, TrainingError) else 2)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as done:  # how typer ends, whatever happened
        if done.code == 130:
            _interrupted()
        raise
    except Exception as error:  # noqa: BLE001  (the last boundary: whatever comes is told, and exits with 1)
        if (remedy := _missing_extra(error)) is not None:
            _fail(remedy, code=2)
        _fail(
            f"{type(error).__name__}: {error}\nThis was not foreseen. Please report it with the traceback, which "
            f"{_DEBUG}=1 or `proxygold --debug …` shows.",
            code=1,
        )
    sys.exit(0)


def _missing_extra(error: Exception) -> str | None:
    """What to install when `error` is that a package of an extra is not there; None when it is something else."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    if extra is None:
        return None
    # The verbs that train or answer need more than the package that was missed first.
    verb = _verb_typed()
    extra = {"demo": "demo", "run": "train,report", "train": "train"}.get(verb, extra)
    if extra == "encoder" and verb in ("eval", "generate", "rollout", "validate"):
        extra = "train"
    return f"this needs {error.name}, which is not installed. Run: pip install 'proxygold[{extra}]'"


def _verb_typed() -> str:
    """The verb that was typed: the first word that is no option, as no option before it takes a value."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _fail(message: str, code: int) -> NoReturn:
    if os.environ.get(_DEBUG, "0") not in ("", "0"):
        traceback.print_exc()
    if (rank := os.environ.get("RANK", "0")) != "0":
        # Of several processes that a launcher started the first one speaks. When it failed too, the launcher ends this
        # one meanwhile; when it did not, what it cannot know is told here.
        time.sleep(3)
        message = f"process {rank}: {message}"
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _interrupted() -> NoReturn:
    verb = _verb_typed()
    # Of `annotate` only what an LLM answered is kept.
    resumes = verb in _RESUMABLE or (verb == "annotate" and bool({"llm", "--by=llm"}.intersection(sys.argv)))
    after = "What is written stays: the same command goes on from there." if resumes else "Nothing was written over."
    if os.environ.get("RANK", "0") == "0":  # of several processes the first one speaks
        print(f"\nstopped by Ctrl-C. {after}", file=sys.stderr)
    sys.exit(130)
