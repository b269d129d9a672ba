"""`proxygold eval reward-bench`, as it is typed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from proxygold.cli.evals.printing import print_evaluation
from proxygold.cli.main import app
from proxygold.errors import ConfigError
from proxygold.evaluation.results import Evaluation, Metric, ModelResult
from proxygold.evaluation.reward_bench.accuracies import POOLED

ROWS = [
    {"id": "a", "prompt": "1", "chosen": "one two three", "rejected": "one two"},
    {"id": "b", "prompt": "2", "chosen": "one", "rejected": "one two three"},
    {"id": "c", "prompt": "3", "chosen": "a b c", "rejected": "b"},
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["eval", "reward-bench", *map(str, arguments)])


def test_two_rewards_and_a_model(tmp_path: Path, tiny_models: tuple[Path, Path]) -> None:
    pairs, out = write(tmp_path / "pairs.jsonl", ROWS), tmp_path / "out"
    done = run(
        "--reward", "LI", "--reward", "short=-LI", "--model", f"tiny={tiny_models[1]}", "--pairs", pairs, "--out", out
    )
    assert done.exit_code == 0, done.output
    lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    table = {(row[0], row[1], row[2], row[3]): row[4:] for row in lines}
    value, low, high, scored, total = table["LI", "", "overall=pooled", "accuracy"]
    # Of three pairs two are right: an interval over three prompts reaches from none to all.
    assert (value, low, high, scored, total) == ("66.6667", "0", "100", "3", "3")
    assert table["short", "", "overall=pooled", "longest"][0] == "66.6667"
    assert table["short", "LI", "overall=pooled", "accuracy"][0] == "-33.3333"
    assert ("tiny", "LI", "overall=pooled", "accuracy") in table
    assert f"results  {out}/results.json" in done.stdout
    results = json.loads((out / "results.json").read_text())
    assert [model["model"] for model in results["models"]] == ["LI", "short", "tiny"]
    with (out / "results.csv").open() as file:
        assert {row["metric"] for row in csv.DictReader(file)} >= {"accuracy", "longest", "shortest", "random"}
    # Recomputed from its own files, by --scores.
    again = run("--scores", f"LI={out}/LI/eval-set-scores.json", "--pairs", pairs, "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert done.stdout.splitlines()[1:6] == again.stdout.splitlines()[1:6]


def test_bad_rows_are_told_and_strict_is_strict(tmp_path: Path) -> None:
    pairs = write(tmp_path / "pairs.jsonl", [*ROWS, "{oops"])
    done = run("--reward", "LI", "--pairs", pairs, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "pairs.jsonl:4: not JSON" in done.output
    assert run("--reward", "LI", "--pairs", pairs, "--out", tmp_path / "out", "--strict").exit_code == 2


def test_nothing_to_test_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no reward to test"):
        raise run("--pairs", write(tmp_path / "pairs.jsonl", ROWS)).exception


def test_a_reward_has_its_name_above_its_groups() -> None:
    text = io.StringIO()
    metrics = [Metric("accuracy", 61.5, 3, 3, group) for group in (POOLED, "section=Chat")]
    evaluation = Evaluation("reward-bench", {}, [ModelResult("LI", metrics)])
    print_evaluation(evaluation, Console(file=text, force_terminal=True, width=100, color_system=None))
    assert [line.split() for line in text.getvalue().splitlines()[1:4]] == [
        ["LI"],
        ["overall=pooled", "61.5", "3/3"],
        ["section=Chat", "61.5", "3/3"],
    ]


def test_the_help_shows_examples() -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert "proxygold eval reward-bench --reward LI" in done.output
