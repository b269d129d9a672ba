"""Around every benchmark: where files go, what is printed, and what is said of what was left out."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from proxygold.cli.evals.printing import print_evaluation
from proxygold.cli.evals.running import evaluation_directory, run_evaluation
from proxygold.errors import ConfigError, StoreError
from proxygold.evaluation.answers.outputs import GivenOutputs, read_outputs
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.progress import EvalProgress
from proxygold.evaluation.results import Difference, Evaluation, Metric, ModelResult

EVALUATION = Evaluation(
    "bench",
    {},
    [
        ModelResult(
            "a",
            [
                Metric("wins", 0.5, 3, 4, low=0.25, high=0.75, interval="bootstrap of items"),
                Metric("words", 123.456, 3, 4, low=100.0, high=150.0, interval="bootstrap of items"),
                Metric("wins", 1.0, 1, 1, "category=math"),
                Metric("hidden", 7.0, 1, 1, "category=math", headline=False),
            ],
            {"no answer": 1, "refusal": 0},
        ),
        ModelResult("b", [Metric("wins", math.nan, 0, 4), Metric("words", 99.0, 4, 4)]),
    ],
    [
        Difference("wins", "b", "a", 0.25, 0.1, 0.4, 3),
        Difference("wins", "b", "a", 0.25, 0.1, 0.4, 3, "category=math", headline=False),
    ],
    ["b was not scored."],
    {"leaderboard": "somewhere.csv"},
)


def printed(*, terminal: bool) -> str:
    text = io.StringIO()
    print_evaluation(EVALUATION, Console(file=text, force_terminal=terminal, width=100, color_system=None))
    return text.getvalue()


def test_on_a_terminal_there_is_a_row_for_each_model_and_group() -> None:
    lines = [line.rstrip() for line in printed(terminal=True).splitlines()]
    assert lines[0].split() == ["bench", "wins", "words", "scored"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1 : lines.index("")]}
    assert rows["a"] == ["0.50", "123", "3/4"]
    assert lines[2].split() == ["(0.25", "to", "0.75)", "(100", "to", "150)"]
    assert rows["category=math"] == ["1.00", "1/1"]
    assert rows["b"][:2] == ["–", "99.0"]  # unscored is no number; of different items, each says of how many
    assert lines[lines.index(next(line for line in lines if line.startswith("b "))) + 1].split() == ["0/4", "4/4"]
    assert "b over a" in printed(terminal=True)
    assert "+0.25" in printed(terminal=True)
    assert "hidden" not in printed(terminal=True)
    assert lines[-3:] == ["a: not scored: 1 no answer", "Note: b was not scored.", "Intervals: bootstrap of items."]


def test_piped_it_is_tab_separated_with_full_numbers() -> None:
    rows = [line.split("\t") for line in printed(terminal=False).splitlines()]
    assert rows[0] == ["model", "baseline", "group", "metric", "value", "low", "high", "n_scored", "n_total"]
    assert rows[1:] == [
        ["a", "", "", "wins", "0.5", "0.25", "0.75", "3", "4"],
        ["a", "", "", "words", "123.456", "100", "150", "3", "4"],
        ["a", "", "category=math", "wins", "1", "", "", "1", "1"],
        ["b", "", "", "wins", "", "", "", "0", "4"],
        ["b", "", "", "words", "99", "", "", "4", "4"],
        ["b", "a", "", "wins", "0.25", "0.1", "0.4", "3", "3"],
    ]


def given(tmp_path: Path, name: str = "mine") -> GivenOutputs:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": 1, "output": "x"}\n{"id": 2}\nbroken\n')
    return read_outputs(path, name)


def test_everything_is_written_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def evaluate(directory: EvaluationDirectory, progress: EvalProgress) -> Evaluation:
        seen.append(progress)
        with pytest.raises(StoreError, match="in use"), directory.lock():
            pass
        return EVALUATION

    out = tmp_path / "out"
    run_evaluation("bench", out, [given(tmp_path)], evaluate)
    assert isinstance(seen[0], EvalProgress)
    made = json.loads((out / "results.json").read_text())["made_with"]
    assert {"date", "command", "proxygold", "python", "packages"} <= made.keys()
    assert "numpy" in made["packages"]
    left_out = [json.loads(line) for line in (out / "mine" / "left_out.jsonl").read_text().splitlines()]
    assert [(row["line"], row["reason"].split(":")[0]) for row in left_out] == [(3, "not JSON"), (2, "no answer")]
    said = capsys.readouterr()
    assert said.out.splitlines()[-4:] == [
        f"left out  {out}/mine/left_out.jsonl",
        "leaderboard  somewhere.csv",
        f"results  {out}/results.json",
        f"table  {out}/results.csv",
    ]
    assert "a: not scored: 1 no answer" in said.err
    with pytest.raises(typer.Exit) as ended:
        run_evaluation("bench", out, [], evaluate, strict=True)  # something was not scored
    assert ended.value.exit_code == 2


def test_what_is_evaluated_before_a_stop_holds_nothing(tmp_path: Path) -> None:
    def stopped(directory: EvaluationDirectory, progress: EvalProgress) -> Evaluation:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_evaluation("bench", tmp_path / "out", [], stopped)
    assert not (tmp_path / "out" / "results.json").exists()
    with EvaluationDirectory(tmp_path / "out").lock():  # and nobody holds it
        pass


def test_checkpoints_of_one_run_are_evaluated_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = []
    for run in ("one", "two"):
        rollouts = tmp_path / "runs" / run / "RER" / "seed-0" / "rollouts"
        rollouts.mkdir(parents=True)
        (tmp_path / "runs" / run / "study.yaml").write_text("name: x")
        for step in (0, 5):
            files.append(rollouts / f"step-{step}.jsonl")
            files[-1].write_text('{"completion": "x"}\n')
    subjects = [read_outputs(file) for file in files]
    assert evaluation_directory("toxigen", None, subjects[:2]).path == tmp_path / "runs" / "one" / "evals" / "toxigen"
    assert evaluation_directory("toxigen", None, subjects).path == Path("evals/toxigen")
    assert evaluation_directory("toxigen", None, [given(tmp_path)]).path == Path("evals/toxigen")
    assert evaluation_directory("toxigen", Path("x"), subjects[:2]).path == Path("x")


def test_two_names_of_one_directory_are_refused(tmp_path: Path) -> None:
    subjects = [given(tmp_path, "a/b"), given(tmp_path, "a_b")]
    with pytest.raises(ConfigError, match=r"'a/b' and 'a_b' would both be kept in .*a_b. Give one another NAME="):
        run_evaluation("bench", tmp_path / "out", subjects, lambda directory, progress: EVALUATION)


def test_progress_shows_bars_on_a_terminal_alone() -> None:
    for terminal in (True, False):
        text = io.StringIO()
        progress = EvalProgress(Console(file=text, force_terminal=terminal, width=100))
        with progress.track("answers of a", 3) as advance:
            advance(2)
            advance(1)
        progress.say("by the way")
        progress.warn("look here")
        assert ("answers of a" in text.getvalue()) == terminal
        assert ("by the way" in text.getvalue()) == terminal
        assert "warning: look here" in text.getvalue()
