"""What the README shows is run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from proxygold.cli.main import app
from proxygold.study.loading import parse_study

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_runs_and_prints_a_score_with_its_parts() -> None:
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "'LI * RP * QR'" in first
    assert second == "LI * RP * (1.0 - hedging)"


def test_the_yaml_is_a_study() -> None:
    (text,) = blocks("yaml")
    study = parse_study(text)
    assert list(study.rewards) == ["LI", "LI_RP_QR", "RER"]
    assert len(text.splitlines()) <= 10


def test_every_verb_in_the_table_exists() -> None:
    named = set(re.findall(r"^\| `proxygold ([a-z]+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert named == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_linked_file_is_there() -> None:
    links = re.findall(r"\]\((?!http)([^)]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
