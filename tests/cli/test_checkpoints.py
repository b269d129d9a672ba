"""What is typed to `validate`, `rollout` and `score --gold` becomes settings, or is told to be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxygold.cli.checkpoints import checkpoint_study
from proxygold.cli.main import app
from proxygold.errors import ConfigError, StoreError
from proxygold.store import RunDirectory

NOTHING: dict[str, Any] = {"checkpoints": None, "start": None, "prompts": None, "template": None}


def make(directory: Path, base: str | None = None) -> None:
    directory.mkdir(parents=True)
    name, text = (
        ("config.json", "{}")
        if base is None
        else ("adapter_config.json", json.dumps({"base_model_name_or_path": base}))
    )
    (directory / name).write_text(text)


def test_adapters_begin_from_their_base(tmp_path: Path) -> None:
    for step in (10, 20):
        make(tmp_path / f"checkpoint-{step}", base="my/sft")
    typed = {**NOTHING, "checkpoints": [f"{tmp_path}/checkpoint-*"], "prompts": "p.jsonl", "reward": "LI", "gold": "g"}
    study, run = checkpoint_study(tmp_path / "out", ["gold.batch_size=2", "validation.top_p=0.9"], **typed)
    assert (study.name, run.path) == ("out", tmp_path / "out")
    assert (study.policy.model, study.policy.prompt_template) == ("my/sft", "chat")
    assert (study.rewards.proxy, study.seeds) == ("LI", [0])
    assert study.gold is not None
    assert (study.gold.model, study.gold.batch_size, study.validation.top_p) == ("g", 2, 0.9)
    study, _ = checkpoint_study(tmp_path / "out", [], **{**typed, "start": "other", "template": "alpaca"})
    assert (study.policy.model, study.policy.prompt_template) == ("other", "alpaca")


def test_whole_models_begin_from_their_step_0_or_from_what_is_given(tmp_path: Path) -> None:
    make(tmp_path / "checkpoint-10")
    typed = {**NOTHING, "checkpoints": [f"{tmp_path}/checkpoint-*"], "prompts": "p.jsonl"}
    with pytest.raises(ConfigError, match=r"do not say which model training began from.* --start MODEL"):
        checkpoint_study(tmp_path / "out", [], **typed)
    make(tmp_path / "checkpoint-0")
    study, _ = checkpoint_study(tmp_path / "out", [], **typed)
    assert study.policy.model == str(tmp_path / "checkpoint-0")


def test_what_the_directory_holds_need_not_be_typed_again(tmp_path: Path) -> None:
    make(tmp_path / "checkpoint-10", base="my/sft")
    typed = {**NOTHING, "checkpoints": [f"{tmp_path}/checkpoint-*"], "prompts": "p.jsonl", "reward": "LI", "gold": "g"}
    study, run = checkpoint_study(tmp_path / "out", ["gold.kind=deberta-pair"], **typed)
    run.write_study({**study.model_dump(mode="json"), "seeds": study.seeds})
    again, _ = checkpoint_study(tmp_path / "out", ["gold.batch_size=4"], **NOTHING, needs={"reward", "gold"})
    assert again.gold is not None
    assert again.gold.batch_size == 4
    assert again.model_copy(update={"gold": study.gold}) == study
    assert again.gold.kind == "deberta-pair"


def test_what_is_missing_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing: --checkpoints GLOB.*; --prompts DATA.*; --reward LINE.*; --gold"):
        checkpoint_study(tmp_path / "out", [], **NOTHING, needs={"reward", "gold"})
    with pytest.raises(ConfigError, match=r"missing: --checkpoints GLOB[^;]*; --prompts DATA[^;]*\.$"):
        checkpoint_study(tmp_path / "out", [], **NOTHING, needs={"checkpoints"})
    typed = {**NOTHING, "checkpoints": ["5=x"], "prompts": "p.jsonl", "start": "m"}
    with pytest.raises(ConfigError, match=r"validation\.temprature: unknown key\. Did you mean 'temperature'\?"):
        checkpoint_study(tmp_path / "out", ["validation.temprature=1"], **typed)
    with pytest.raises(ConfigError, match=r"validation\.every: unknown key"):
        checkpoint_study(tmp_path / "out", ["validation.every=1"], **typed)


def test_a_studys_run_is_not_written_over(tmp_path: Path) -> None:
    RunDirectory(tmp_path).write_study({"name": "study", "rewards": {"LI": "LI"}, "seeds": [0]})
    with pytest.raises(StoreError, match=r"is a study's run, which `proxygold run` goes on with"):
        checkpoint_study(tmp_path, [], **NOTHING)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["run", "--gold", "--reward", "LI"], "--reward does not go with --gold"),
        (["run", "--gold", "--workers", "2"], "--workers does not go with --gold"),
        (["run", "--gold", "--force"], "--force does not go with --gold"),
        (["gold.model=x", "--gold"], "there is no run to score"),
    ],
)
def test_gold_takes_runs_and_settings_of_gold_alone(typed: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["score", *typed])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["x.jsonl", "--out", "y.jsonl"], "Missing option '--reward'"),
        (["x.jsonl", "--reward", "LI"], "Missing option '--out'"),
    ],
)
def test_without_gold_a_reward_and_a_place_are_needed(typed: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["score", *typed])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
