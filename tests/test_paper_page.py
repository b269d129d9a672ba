"""The commands of docs/paper.md and of the benchmarks' pages are run by a shell, up to where proxygold would begin."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import click
import pytest
from typer.main import get_command

from proxygold.cli.main import app

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "docs" / "paper.md"
PAGES = [PAPER, *sorted((ROOT / "docs" / "benchmarks").glob("*.md"))]

BASH = shutil.which("bash")

# In the place of the programs: each tells its arguments, and `choice.json` names a checkpoint. No other can be found.
STAND_INS = """
PATH=/nonexistent
command_not_found_handle() { :; }
proxygold() { printf '%s\\x1f' "$@"; printf '\\n'; }
accelerate() { while [ "$1" != proxygold ]; do shift; done; shift; proxygold "$@"; }
python() { echo checkpoints/step-4000; }
"""


def commands(page: Path, directory: Path) -> list[list[str]]:
    """The arguments of each `proxygold` command of a page, after a shell in `directory` has expanded what is in them."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    script = STAND_INS + "\n".join(blocks)
    done = subprocess.run([str(BASH), "-u", "-c", script], capture_output=True, text=True, cwd=directory, check=False)
    assert done.stderr == "", (page.name, done.stderr)
    return [line.split("\x1f")[:-1] for line in done.stdout.splitlines()]


@cache
def command_line() -> click.Command:
    return get_command(app)  # type: ignore[return-value]


def parse(arguments: list[str]) -> None:
    """Raises click.UsageError for what the command line would not take."""
    command = command_line()
    rest = list(arguments)
    while hasattr(command, "commands"):
        assert rest, f"{arguments} ends before a verb"
        assert rest[0] in command.commands, f"{arguments}: there is no {rest[0]}"
        command = command.commands[rest.pop(0)]
    command.make_context(" ".join(arguments), rest)


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one_that_can_be_typed(page: Path, tmp_path: Path) -> None:
    found = commands(page, tmp_path)
    assert found, page
    for arguments in found:
        try:
            parse(arguments)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: proxygold {' '.join(arguments)}: {error.format_message()}")


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_every_recipe_of_the_paper_is_used_and_every_benchmark_is_run(tmp_path: Path) -> None:
    found = commands(PAPER, tmp_path)
    named = {word for arguments in found for word in arguments if word.startswith("recipes/")}
    text = PAPER.read_text(encoding="utf-8")
    for recipe in (ROOT / "recipes" / "paper").glob("*.yaml"):
        name = recipe.relative_to(ROOT).as_posix()
        assert name in named or name in text, name
    for name in named:
        assert (ROOT / name).exists(), name
    run = {arguments[1] for arguments in found if arguments[0] == "eval"}
    assert run == set(command_line().commands["eval"].commands)  # type: ignore[attr-defined]
    # A checkpoint's name is the one that the shell read from choice.json.
    models = {word for arguments in found for word in arguments if "seed-0" in word}
    assert "RER=runs/paper-hh/RER/seed-0/checkpoints/step-4000" in models


def test_every_table_and_figure_of_results_has_a_section() -> None:
    headings = " ".join(re.findall(r"^## (.*)$", PAPER.read_text(encoding="utf-8"), flags=re.MULTILINE))
    for wanted in (
        *(f"Table {number}" for number in range(1, 7)),
        "Figures 3 and 6",
        *(f"Figure {n}" for n in (4, 5, 7, 10, 11)),
    ):
        assert wanted in headings, wanted
