"""The `proxygold` command: its verbs, and how errors become messages and exit codes.

Exit codes: 0 done, 2 bad input, 130 Ctrl-C, 1 anything else. Each verb is a file beside this one whose top
imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated, NoReturn

import typer

from proxygold.cli.demo import demo
from proxygold.cli.monotonicity import monotonicity
from proxygold.cli.report import report
from proxygold.cli.run import run
from proxygold.cli.score import score
from proxygold.cli.train import app as train
from proxygold.errors import ProxygoldError, TrainingError

__all__ = ["app", "main"]

_DEBUG = "PROXYGOLD_DEBUG"
# Verbs that go on from what an interrupted run has done.
_RESUMABLE = {"demo", "run", "train"}

# Which extra brings a package that only some verbs need.
_EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "sentence_transformers", "safetensors"), "encoder"),
    **dict.fromkeys(("accelerate", "datasets", "gguf", "peft", "trl"), "train"),
    **dict.fromkeys(("jinja2", "plotly"), "report"),
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
    (demo, "proxygold demo\n\nproxygold demo training.steps=20"),
    (run, "proxygold run study.yaml --dry-run\n\nproxygold run study.yaml training.steps=1000 seeds='[0,1,2]'"),
    (
        score,
        "proxygold score answers.jsonl --reward 'LI * RP' --out scored.jsonl\n\n"
        "proxygold score answers.parquet --reward RER --out scored.parquet --encoder facebook/contriever\n\n"
        "proxygold score answers.jsonl.gz --reward QR --out scored.jsonl encoder.normalize=false",
    ),
    (
        monotonicity,
        "proxygold monotonicity runs/demo\n\nproxygold monotonicity --scores scores.parquet --json numbers.json",
    ),
    (report, "proxygold report runs/demo"),
)


def _paragraphs(docstring: str | None) -> str:
    """A docstring with each paragraph on one line, for the terminal to wrap at its own width."""
    return "\n\n".join(" ".join(part.split()) for part in cleandoc(docstring or "").split("\n\n"))


for _verb, _examples in _VERBS:
    app.command(help=_paragraphs(_verb.__doc__), epilog=f"[bold]Examples[/bold]\n\n{_examples}")(_verb)
app.add_typer(train, name="train")  # its kinds of training are verbs of their own


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
    # Before torch is loaded, which reads it once: on cores that are shared with another job, threads that wait for each
    # other by spinning made a PPO step 3 to 6 times slower than threads that sleep (docs/LOG.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
    # The verbs that train need more than the package that was missed first.
    extra = {"demo": "demo", "run": "train,report", "train": "train"}.get(next(iter(sys.argv[1:]), ""), extra)
    return f"this needs {error.name}, which is not installed. Run: pip install 'proxygold[{extra}]'"


def _fail(message: str, code: int) -> NoReturn:
    if os.environ.get(_DEBUG, "0") not in ("", "0"):
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _interrupted() -> NoReturn:
    resumes = bool(_RESUMABLE.intersection(sys.argv[1:]))
    after = "What is done is kept: the same command goes on from there." if resumes else "Nothing was written over."
    print(f"\nstopped by Ctrl-C. {after}", file=sys.stderr)
    sys.exit(130)
