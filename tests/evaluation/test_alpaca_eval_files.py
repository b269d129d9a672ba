"""AlpacaEval's files, written and read; and its numbers, to the digit."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxygold.errors import DataError
from proxygold.evaluation.alpaca_eval.files import (
    AnnotatedModel,
    Annotation,
    leaderboard_row,
    read_annotations,
    write_annotations,
    write_leaderboard,
    write_model_outputs,
)
from proxygold.evaluation.alpaca_eval.instructions import Comparison, read_reference_set
from proxygold.evaluation.alpaca_eval.results import summarise_annotations

SHARED = Path(__file__).parents[2] / "../shared/data"
RECORDED = SHARED / "alpaca_eval_annotations_ppo_human.json.gz"


def model(*preferences: float, name: str = "m", lengths: tuple[int, ...] = ()) -> AnnotatedModel:
    annotations = [
        Annotation(
            Comparison(i, f"Question {i}", "ten chars.", "ref", "koala" if i % 2 else None),
            "x" * (lengths[i] if lengths else 5),
            preference,
            f"said {i}",
        )
        for i, preference in enumerate(preferences)
    ]
    return AnnotatedModel(name, "judge", annotations, {}, {})


def test_the_leaderboards_numbers_by_hand() -> None:
    row = leaderboard_row(model(2.0, 1.0, 1.5, 1.7, 1.2, math.nan, lengths=(4, 5, 6, 7, 8, 9)))
    # Shares 1, 0, 0.5, 0.7, 0.2: mean 0.48. Squared deviations 0.2704, 0.2304, 0.0004, 0.0484, 0.0784 = 0.628; over 4
    # 0.157, over 5 0.0314, whose root is 0.177200. As a win, a loss or a tie: 1, 0, 0.5, 1, 0. Lengths: mean 6.5, cut.
    assert row.pop("win_rate") == pytest.approx(48.0, abs=1e-12)
    assert row.pop("standard_error") == pytest.approx(17.7200, abs=1e-4)
    assert row.pop("discrete_win_rate") == pytest.approx(50.0, abs=1e-12)
    assert row == {"n_wins": 2, "n_wins_base": 2, "n_draws": 1, "n_total": 5, "mode": "community", "avg_length": 6}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at ../shared/data")
def test_a_recorded_run_gives_its_published_numbers() -> None:
    (recorded,), rejected = read_annotations(RECORDED)
    assert (recorded.name, recorded.annotator, rejected) == ("alpaca-farm-ppo-human", "alpaca_eval_gpt4", [])
    row = leaderboard_row(recorded)
    assert (row["win_rate"], row["standard_error"]) == (41.24223602484472, 1.7271813123250834)
    assert (row["n_wins"], row["n_wins_base"], row["n_draws"], row["n_total"]) == (328, 469, 8, 805)
    assert (row["avg_length"], row["discrete_win_rate"]) == (803, 41.24223602484472)
    found = summarise_annotations([recorded])
    metrics = {(metric.name, metric.group): metric for metric in found.models[0].metrics}
    assert metrics["win_rate", ""].value == 41.24223602484472
    assert metrics["win_rate", ""].standard_error == 1.7271813123250834
    # AlpacaEval's own, with other models' annotations, is 29.78 on its leaderboard.
    assert abs(metrics["length_controlled_win_rate", ""].value - 29.78) < 1.0
    assert {metric.n_total for (_, group), metric in metrics.items() if group} == {129, 156, 188, 252, 80}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at ../shared/data")
def test_other_recorded_models_give_their_published_win_rates() -> None:
    with gzip.open(SHARED / "alpaca_eval_outputs_models.jsonl.gz", "rt") as file:
        published = {row["model"]: row for row in map(json.loads, file)}
    references = read_reference_set(str(SHARED / "validation/alpaca_eval.json.gz")).items
    for name in ("mistral-medium", "guanaco-65b", "tulu-2-dpo-7b"):  # those of which every row is there
        with gzip.open(SHARED / f"alpaca_eval_outputs/{name}.jsonl.gz", "rt") as file:
            rows = [json.loads(line) for line in file]
        annotations = [
            Annotation(references[row["i"]], row["output"], math.nan if row["pref_v1"] is None else row["pref_v1"])
            for row in rows
        ]
        row = leaderboard_row(AnnotatedModel(name, "alpaca_eval_gpt4", annotations, {}, {}))
        assert row["n_total"] == published[name]["n_v1"] == 805
        assert row["win_rate"] == pytest.approx(published[name]["lb_v1"], abs=1e-9)


def test_annotations_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    written = model(2.0, 1.0, 1.5, math.nan)
    path = tmp_path / "annotations.json"
    write_annotations(path, written)
    rows = json.loads(path.read_text())
    assert list(rows[1]) == [
        *("instruction", "output_1", "generator_1", "dataset", "output_2", "generator_2", "annotator", "preference"),
        "preference_raw_completion",
    ]
    assert [row["preference"] for row in rows] == [2.0, 1.0, 1.5, None]
    assert "dataset" not in rows[0]
    (read,), rejected = read_annotations(path)
    assert rejected == []
    assert list(map(repr, read.annotations)) == list(map(repr, written.annotations))  # NaN is not equal to itself
    assert read.left_out == {"no preference recorded": 1}


def test_files_of_several_models_and_of_older_versions(tmp_path: Path) -> None:
    base = {"instruction": "q", "output_1": "a", "output_2": "b", "annotator": "j"}
    rows: list[Any] = [
        base | {"generator_2": "x", "preference": 0},  # how a tie was once written
        base | {"generator_2": "y", "preference": 2},
        base | {"generator_2": "x", "preference": 1, "instruction": "r", "preference_raw_completion": {"text": "m"}},
        base | {"generator_2": "x", "preference": 2.5},
        base | {"generator_2": "x", "preference": True},
        {key: value for key, value in base.items() if key != "output_2"},
        base | {"generator_2": "x"},
        "no object",
    ]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows))
    models, rejected = read_annotations(path)
    assert [(each.name, [one.preference for one in each.annotations]) for each in models] == [
        ("x", [1.5, 1.0]),
        ("y", [2.0]),
    ]
    assert [(row.line, row.reason.partition(";")[0]) for row in rejected] == [
        (4, "the preference is 2.5"),
        (5, "the preference is True"),
        (6, "there is no output_2 as text"),
        (7, "there is no preference"),
        (8, "a JSON string, not an object of fields"),
    ]
    path.write_text(json.dumps(rows[3:5]))
    with pytest.raises(DataError, match=r"holds no annotations of AlpacaEval's.*:1: the preference is 2\.5"):
        read_annotations(path)


def test_model_outputs_are_those_there_are(tmp_path: Path) -> None:
    items = [Comparison(0, "Why?", "So.", "ref", "koala"), Comparison(1, "How?", "Thus.", "ref")]
    write_model_outputs(tmp_path / "model_outputs.json", "né", zip(items, ["Bé.", None], strict=True))
    assert json.loads((tmp_path / "model_outputs.json").read_text()) == [
        {"dataset": "koala", "instruction": "Why?", "output": "Bé.", "generator": "né"}
    ]


def test_the_leaderboard_has_the_best_first(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "low": leaderboard_row(model(1.0, 2.0, 1.0)),
        "none": leaderboard_row(model(math.nan)),
        "high": leaderboard_row(model(2.0, 1.0, 2.0)) | {"lc_standard_error": 1.5},
    }
    write_leaderboard(tmp_path / "leaderboard.csv", rows)
    with (tmp_path / "leaderboard.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row[""] for row in table] == ["high", "low", "none"]
    assert list(table[0]) == [
        *("", "win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "mode", "avg_length"),
        *("discrete_win_rate", "lc_standard_error"),
    ]
    assert float(table[0]["win_rate"]) == rows["high"]["win_rate"]  # full numbers
    assert (table[2]["win_rate"], table[1]["lc_standard_error"], table[2]["n_total"]) == ("", "", "0")


def test_differences_are_on_what_both_have_whatever_the_order() -> None:
    first = model(2.0, 1.0, 2.0, math.nan, 1.0, name="first", lengths=(5, 9, 15, 5, 7))
    second = model(1.0, 1.0, 2.0, 2.0, 2.0, name="second", lengths=(6, 9, 12, 5, 8))
    turned = AnnotatedModel("second", "judge", second.annotations[::-1], {}, {})
    for other in (second, turned):
        found = summarise_annotations([first, other])
        wins, controlled = found.differences
        # On questions 0, 1, 2 and 4: -1, 0, 0, 1.
        assert (wins.name, wins.model, wins.baseline, wins.n) == ("win_rate", "second", "first", 4)
        assert wins.value == pytest.approx(0.0, abs=1e-12)
        assert (controlled.name, controlled.n) == ("length_controlled_win_rate", 4)
        assert np.isfinite(controlled.value)
    assert found.notes == [
        "first: 1 of 5 have no preference. The win rate would be 40.0 if they were all lost, and 60.0 if they were all "
        "won."
    ]
    bounds = [metric for metric in found.models[0].metrics if "_if_missing_" in metric.name]
    assert [(metric.value, metric.n_scored) for metric in bounds] == [(40.0, 5), (60.0, 5)]
