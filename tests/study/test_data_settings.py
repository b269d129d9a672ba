"""`data:` of a study file: what is read of it, what is written back, and what is said about a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from proxygold.errors import ConfigError
from proxygold.study.config import DataSettings
from proxygold.study.loading import load_study


@pytest.mark.parametrize(
    "given",
    [
        {"train": "builtin", "validation": "builtin"},
        {
            "train": {"source": "alpaca_data.json", "name": "alpaca", "fields": {"query_type": "kind"}},
            "dev": {"name": "hh_helpful", "split": "test", "limit": 9},
            "validation": "hub:owner/name:test",
            "gold_training": "pairs.jsonl",
            "query_types": "local",
            "dev_limit": 5,
        },
    ],
)
def test_what_a_run_saves_is_the_same_study(given: dict[str, Any]) -> None:
    data = DataSettings.model_validate(given)
    saved = data.model_dump(mode="json")
    assert {key: saved[key] for key in given if key != "query_types"} == {
        key: value for key, value in given.items() if key != "query_types"
    }
    assert DataSettings.model_validate(saved) == data


def test_settings_inside_a_source_can_be_overridden(study_file: Path) -> None:
    study = yaml.safe_load(study_file.read_text())
    study["data"]["train"] = {"name": "alpaca"}
    study_file.write_text(yaml.safe_dump(study))
    train = load_study(study_file, ["data.train.source=alpaca_data.json", "data.train.limit=3"]).data.train
    assert (train.source, train.form, train.limit) == ("alpaca_data.json", "alpaca", 3)
    assert load_study(study_file, ["data.train=dolly"]).data.train.form == "dolly"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.train={sorce: x}",
            r"data\.train\.sorce: unknown key. Did you mean 'source'\? Known here: source, name,",
        ),
        ("data.train={source: x.jsonl, name: alpca}", r"data\.train: there is no data set called 'alpca'; known: "),
        ("data.train=5", r"data\.train: give a word, such as builtin, .* \(given: 5\)"),
        ("data.dev={limit: 3}", r"data\.dev: give a source: builtin, the name of a known data set"),
        ("data.train.limit=3", "'train' is a plain value, so nothing can be set inside it"),
    ],
)
def test_a_mistake_is_named_with_its_place(study_file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(study_file, [override])
