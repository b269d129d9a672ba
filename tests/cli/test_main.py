"""The command itself: quick, documented, and with exit codes that mean what they say."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from proxygold import feature
from proxygold.cli.main import app
from proxygold.cli.scoring import split_arguments
from proxygold.rewards.options import reward_from_options
from proxygold.study.demo import demo_text
from proxygold.study.loading import parse_study

PROXYGOLD = Path(sys.executable).with_name("proxygold")
A_STUDY = """
name: small
policy: {model: smollm2-135m-instruct}
data: {train: builtin, validation: builtin}
rewards: {LI: LI}
gold: {model: gold-mini}
"""
VERBS = ("demo", "run", "score", "check", "train", "monotonicity", "report")


def proxygold(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROXYGOLD), *arguments], capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_help_names_every_verb_and_every_verb_has_help() -> None:
    overview = proxygold("--help")
    assert overview.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in overview.stdout
        page = proxygold(verb, "--help")
        assert page.returncode == 0, page.stderr
        assert f"Usage: proxygold {verb}" in page.stdout
        if verb != "train":  # its kinds of training have their own pages
            assert "Examples" in page.stdout


def examples() -> list[str]:
    """Every line of the help pages that shows how to use a verb."""
    found: list[str] = []

    def look(command: Any) -> None:
        lines = (line.strip() for line in (command.epilog or "").splitlines())
        found.extend(line for line in lines if line.startswith("proxygold "))
        for inner in getattr(command, "commands", {}).values():
            look(inner)

    look(get_command(app))
    return found


@pytest.mark.parametrize("line", examples())
def test_every_printed_example_is_taken(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, *words = shlex.split(line)
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        verb, *words = words
        command = command.commands[verb]
    given = command.make_context(verb, words).params
    text = {"demo": demo_text(), "run": A_STUDY}.get(verb)
    if text is not None:
        parse_study(text, given["overrides"] or [])
    if given.get("plugin"):
        feature("my_feature", replace=True)(lambda example: 1.0)  # what the file of the example would register
    if given.get("reward") is not None:
        # `score` takes data and settings in one list; those of `validate` are of more than the reward.
        by_verb = {"score": lambda: split_arguments(given["data"])[1], "validate": list}
        settings = by_verb.get(verb, lambda: given["settings"] or [])()
        for reward in [given["reward"]] if isinstance(given["reward"], str) else given["reward"]:
            reward_from_options(reward, given["encoder"], settings)


def test_there_are_examples() -> None:
    assert len(examples()) >= 8


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["run", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['proxygold', *{arguments!r}]\n"
        "from proxygold.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as done: assert done.code == 0, done.code\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'scipy', 'peft', 'trl'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_version() -> None:
    from importlib.metadata import version

    result = proxygold("--version")
    assert (result.returncode, result.stdout) == (0, f"proxygold {version('proxygold')}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scoer"], "'score'"),
        (["score"], "Missing argument"),
        (["score", "x.jsonl", "--out", "y.jsonl"], "Missing option '--reward'"),
        (["score", "x.jsonl", "--rewad", "LI"], "No such option"),
    ],
)
def test_what_is_typed_wrong_is_bad_input(arguments: list[str], message: str) -> None:
    result = proxygold(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""


# What each kind of error becomes. The verb is ours, the way from it to the exit code is the command's own.
HARNESS = """
import sys
from proxygold.cli import main as cli
from proxygold import errors

@cli.app.command()
def fail() -> None:
    raise {error}

sys.argv = ["proxygold", {options} "fail"]
cli.main()
"""


def fails_with(error: str, options: str = "") -> subprocess.CompletedProcess[str]:
    code = HARNESS.format(error=error, options=options)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("errors.DataError('the file is odd. Mend it.')", 2, "error: the file is odd. Mend it.\n"),
        ("errors.ConfigError('no')", 2, "error: no\n"),
        ("errors.StoreError('full')", 2, "error: full\n"),
        ("errors.TrainingError('the loss is NaN')", 1, "error: the loss is NaN\n"),
    ],
)
def test_our_errors(error: str, code: int, message: str) -> None:
    result = fails_with(error)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", message)


def test_anything_else_is_1_and_shows_its_traceback_only_when_asked() -> None:
    result = fails_with("ZeroDivisionError('by zero')")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ZeroDivisionError: by zero\n")
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr
    debugged = fails_with("ZeroDivisionError('by zero')", options="'--debug',")
    assert debugged.returncode == 1
    assert "Traceback" in debugged.stderr
    assert debugged.stderr.count("ZeroDivisionError") >= 2


@pytest.mark.parametrize(
    ("typed", "goes_on"),
    [
        (["run", "study.yaml"], True),
        (["--debug", "demo"], True),
        (["train", "reward-model", "pairs.jsonl"], True),
        (["annotate", "prompts.jsonl", "--by", "llm"], True),
        (["annotate", "run", "--by", "random"], False),
        (["report", "run"], False),
        (["validate", "--out", "runs/v"], True),
        (["monotonicity", "runs/demo"], False),
        ([], False),
    ],
)
def test_what_ctrl_c_left_depends_on_the_verb(
    typed: list[str], goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from proxygold.cli.main import _interrupted

    monkeypatch.setattr(sys, "argv", ["proxygold", *typed])
    with pytest.raises(SystemExit):
        _interrupted()
    assert ("the same command goes on" in capsys.readouterr().err) == goes_on


def test_ctrl_c_is_130() -> None:
    result = fails_with("KeyboardInterrupt")
    assert result.returncode == 130
    assert "stopped by Ctrl-C" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["demo"], "demo"),
        (["--debug", "demo"], "demo"),
        (["run", "study.yaml"], "train,report"),
        (["train", "reward-model", "pairs.jsonl", "--out", "rm"], "train"),
    ],
)
def test_without_its_packages_a_verb_names_the_extra(arguments: list[str], extra: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(demo_text())
    pairs = (f'{{"prompt": "{number}", "chosen": "b", "rejected": "c"}}\n' for number in range(50))
    (tmp_path / "pairs.jsonl").write_text("".join(pairs))
    code = (
        f"import sys; sys.modules['torch'] = None; sys.argv = ['proxygold', *{arguments!r}]\n"
        "from proxygold.cli.main import main\nmain()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert f"this needs torch, which is not installed. Run: pip install 'proxygold[{extra}]'" in result.stderr
