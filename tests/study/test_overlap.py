"""The overlap check of a study: what gives way to what, what is told, and what gold has seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import DataError
from proxygold.records import PromptRecord
from proxygold.study.config import DataSettings, GoldSettings
from proxygold.study.overlap import gold_overlap, keep_apart
from proxygold.study.prompts import read_study_prompts

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


def records(*prompts: str) -> tuple[PromptRecord, ...]:
    return tuple(PromptRecord(prompt[:4], prompt) for prompt in prompts)


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def card(directory: Path, *datasets: str) -> GoldSettings:
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    if datasets:
        (directory / "README.md").write_text(f"---\ndatasets: {json.dumps(datasets)}\n---\n")
    return GoldSettings(model=str(directory))


def test_train_gives_way_to_dev_and_both_to_validation() -> None:
    sets = {
        "train": records("only train", "in all", "with dev", f"{LONG} and more"),
        "dev": records("only dev", "WITH DEV", "in  all", "twice"),
        "validation": records("In all", "only validation", f"so {LONG}", "twice"),
    }
    kept, left_out, lines = keep_apart(sets)
    assert {name: [record.prompt for record in prompts] for name, prompts in kept.items()} == {
        "train": ["only train", f"{LONG} and more"],
        "dev": ["only dev", "WITH DEV"],
        "validation": ["In all", "only validation", f"so {LONG}", "twice"],
    }
    assert left_out == [
        {"split": "dev", "id": "in  ", "reason": "the same prompt is in data.validation"},
        {"split": "dev", "id": "twic", "reason": "the same prompt is in data.validation"},
        {"split": "train", "id": "in a", "reason": "the same prompt is in data.validation"},
        {"split": "train", "id": "with", "reason": "the same prompt is in data.dev"},
    ]
    assert lines == [
        "dev and validation: 2 prompts in common, left out of dev",
        "train and validation: 1 prompt in common, left out of train; "
        "1 prompt of validation with 13 words in a row in common, left in",
        "train and dev: 1 prompt in common, left out of train",
    ]


def test_sets_apart() -> None:
    sets = {"train": records("a", LONG), "dev": (), "validation": records("b", f"x {LONG}")}
    kept, left_out, lines = keep_apart(sets)
    assert (kept, left_out) == (sets, [])
    assert lines == ["train and validation: 1 prompt of validation with 13 words in a row in common"]
    assert keep_apart({**sets, "train": records("a")})[2] == ["train and validation: no prompt in common"]


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no dev prompt is left: all 1 are in data\.validation too.*another split"):
        keep_apart({"train": records("a"), "dev": records("b"), "validation": records("b")})


def test_what_is_read_is_kept_apart_and_copies_are_told(tmp_path: Path) -> None:
    dialogue = "\n\nHuman: {}\n\nAssistant: Yes."
    rows = [{"chosen": dialogue.format(text), "rejected": ""} for text in ("a", "b", "a", "c")]
    data = DataSettings.model_validate(
        {
            "train": {"source": write(tmp_path / "t.jsonl", rows), "name": "hh_helpful"},
            "dev": write(tmp_path / "d.jsonl", [{"prompt": "c"}, {"text": "?"}, {"prompt": "d"}, {"prompt": "e"}]),
            "dev_limit": 2,
            "validation": write(tmp_path / "v.jsonl", [{"prompt": "A"}]),
        }
    )
    found = read_study_prompts(data)
    assert [record.prompt for record in found.train] == ["b"]
    assert [record.prompt for record in found.dev] == ["c", "d"]
    assert found.notes == (
        "train: 1 row is a copy of one before, left out",
        "dev and validation: no prompt in common",
        "train and validation: 1 prompt in common, left out of train",
        "train and dev: 1 prompt in common, left out of train",
    )
    assert [(row["split"], row["id"]) for row in found.rejected] == [
        ("dev", "line-2"),
        ("train", "line-1"),
        ("train", "line-4"),
    ]


def test_gold_by_its_card(tmp_path: Path) -> None:
    data = DataSettings.model_validate(
        {"train": "hh", "dev": "a.jsonl", "validation": "hub:Tatsu-Lab/alpaca_eval:eval"}
    )
    gold = card(tmp_path / "gold", "anthropic/hh-rlhf", "x/y")
    assert gold_overlap(data, gold, {}) == [
        f"gold {gold.model} was trained on anthropic/hh-rlhf, x/y, as its card says: "
        "train (Anthropic/hh-rlhf) may be among it"
    ]
    other = card(tmp_path / "other", "tatsu-lab/alpaca_eval", "Anthropic/hh-rlhf")
    assert "train (Anthropic/hh-rlhf) and validation (Tatsu-Lab/alpaca_eval) may be" in gold_overlap(data, other, {})[0]
    none = card(tmp_path / "none", "x/y")
    assert gold_overlap(data, none, {})[0].endswith("x/y, as its card says: no set of this study is named so")


def test_gold_that_states_nothing(tmp_path: Path) -> None:
    data = DataSettings.model_validate({"train": "builtin", "validation": "builtin"})
    silent = card(tmp_path / "gold")
    told = [f"gold {silent.model} does not state what it was trained on: data.gold_training can name a file of it"]
    assert gold_overlap(data, silent, {}) == told
    # Of one that is elsewhere no card is looked for.
    assert "does not state" in gold_overlap(data, GoldSettings(model="somebody/gold"), {}, has_card=False)[0]
    remote = GoldSettings(url="http://127.0.0.1:1/classify")
    assert "gold http://127.0.0.1:1/classify does not" in gold_overlap(data, remote, {})[0]


def test_gold_by_its_training_data(tmp_path: Path) -> None:
    pairs = [{"prompt": "Say a word.", "chosen": "a", "rejected": "b"}, {"prompt": f"{LONG} fourteen"}, {"prompt": "z"}]
    data = DataSettings.model_validate(
        {"train": "builtin", "validation": "builtin", "gold_training": write(tmp_path / "g.jsonl", pairs)}
    )
    sets = {
        "train": records("say a word.", LONG, "other"),
        "dev": records("none of it"),
        "validation": records("a b", LONG, "Say a word."),
    }
    where = f"gold's training data ({tmp_path}/g.jsonl, 3 prompts)"
    assert gold_overlap(data, GoldSettings(model="gold-mini"), sets) == [
        f"{where} and validation: 1 prompt in common, left in; "
        "1 prompt of validation with 13 words in a row in common, left in",
        f"{where} and dev: no prompt in common",
        f"{where} and train: 1 prompt in common, left in",
    ]
