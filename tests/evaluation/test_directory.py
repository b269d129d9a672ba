"""An evaluation's files: results for programs and for spreadsheets, and one writer at a time."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from proxygold.errors import StoreError
from proxygold.evaluation.directory import EvaluationDirectory
from proxygold.evaluation.results import Difference, Evaluation, Metric, ModelResult

EVALUATION = Evaluation(
    "bench",
    {"seed": 0, "temperature": 0.7},
    [
        ModelResult(
            "org/a",
            [Metric("wins", 0.5, 3, 4, low=0.25, high=0.75, standard_error=0.1, interval="bootstrap")],
            {"no answer": 1},
            {"model": "org/a"},
        ),
        ModelResult("b", [Metric("wins", math.nan, 0, 4), Metric("wins", 0.0, 2, 2, "category=math", headline=False)]),
    ],
    [Difference("wins", "b", "org/a", -0.1, -0.3, 0.1, 3)],
    ["a note"],
    {"leaderboard": "x.csv"},
)


def test_results_are_json_without_nan_and_say_with_what_they_were_made(tmp_path: Path) -> None:
    directory = EvaluationDirectory(tmp_path / "new")
    directory.write(EVALUATION, {"proxygold": "0.1"})
    found = json.loads(directory.results_file.read_text(), parse_constant=pytest.fail)
    assert found["models"][0]["left_out"] == {"no answer": 1}
    assert found["models"][1]["metrics"][0]["value"] is None  # unscored, not 0
    assert found["models"][1]["metrics"][1]["value"] == 0.0
    assert (found["settings"], found["notes"], found["made_with"]) == (
        {"seed": 0, "temperature": 0.7},
        ["a note"],
        {"proxygold": "0.1"},
    )


def test_the_table_has_a_row_for_each_metric_and_difference(tmp_path: Path) -> None:
    directory = EvaluationDirectory(tmp_path)
    directory.write(EVALUATION)
    with directory.table_file.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["group"], row["value"], row["n_scored"], row["baseline"]) for row in rows] == [
        ("org/a", "", "0.5", "3", ""),
        ("b", "", "", "0", ""),
        ("b", "category=math", "0.0", "2", ""),
        ("b", "", "-0.1", "3", "org/a"),
    ]
    assert (rows[0]["low"], rows[0]["interval"], rows[1]["low"]) == ("0.25", "bootstrap", "")
    assert "made_with" not in json.loads(directory.results_file.read_text())


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("org/model-7b", "org_model-7b"),
        ("LI_RP/seed-0/step-96", "LI_RP_seed-0_step-96"),
        ("../..", "model"),
        ("é 1", "é_1"),
    ],
)
def test_a_model_of_any_name_has_a_directory_within(tmp_path: Path, name: str, written: str) -> None:
    directory = EvaluationDirectory(tmp_path)
    assert directory.model(name) == tmp_path / written
    assert directory.answers_file(name).parent == directory.verdicts_file(name).parent == tmp_path / written


def test_one_process_holds_it(tmp_path: Path) -> None:
    directory = EvaluationDirectory(tmp_path / "e")
    with directory.lock(), pytest.raises(StoreError, match="in use by another evaluation"), directory.lock():
        pass
    with directory.lock():
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"), EvaluationDirectory(tmp_path / "file" / "e").lock():
        pass


def test_what_was_left_out_is_listed_and_an_old_list_goes(tmp_path: Path) -> None:
    directory = EvaluationDirectory(tmp_path)
    file = directory.write_left_out("m", [{"id": "7", "reason": "too long"}])
    assert file is not None
    assert json.loads(file.read_text()) == {"id": "7", "reason": "too long"}
    assert directory.write_left_out("m", []) is None
    assert not file.exists()
