"""`proxygold train sft`: settings from a file and from what is typed, what it prints, and what it says of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from proxygold.cli.fine_tuning import SFTJob, load_job
from proxygold.cli.train import app
from proxygold.data.source_settings import SourceSettings
from proxygold.errors import ConfigError, DataError, StoreError
from proxygold.models.policy_settings import LoraSettings
from proxygold.training.sft_config import SFTConfig


@pytest.fixture
def model(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    directory = tmp_path / "model"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Eight rows: one is no JSON, one is too long for 12 tokens."""
    lines = [json.dumps({"prompt": f"w{n}", "completion": "w1 w2", "reference": "w3"}) for n in range(1, 7)]
    lines += [json.dumps({"prompt": "w7", "completion": "w1 " * 20, "reference": "w3"}), "{not json"]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def train(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["sft", *map(str, arguments)], env={"COLUMNS": "200"})


def test_it_trains_and_says_what_came_of_it(model: Path, rows: Path, tmp_path: Path, one_thread: None) -> None:
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text('{"prompt": "w6", "completion": "w1 w2"}\n{"prompt": "w9"}\n')
    out = tmp_path / "out"
    arguments = [
        rows, "--out", out, "--model", model, "--template", "none", "--answers", "completion", "--held-out", held_out,
        "--lora-r", 2, "--epochs", 1, "max_length=12", "gradient_accumulation_steps=1", "dtype=float32", "device=cpu",
    ]  # fmt: skip
    result = train(*arguments)
    assert result.exit_code == 0, result.output
    for expected in (
        "trained on 5 rows (15 tokens of answers) in 3 steps, last loss ",  # two words and the end of each
        "1 held-out rows (3 tokens of answers): loss ",
        "1 conversations over 12 tokens were left out",
        "1 rows were not trained on: their prompts are in held_out_data too",
        "2 rows could not be used:",
        "rows.jsonl:8: not JSON",
        "held-out.jsonl:2: missing or empty field 'completion'",
        f"adapter  {out}/model",
        f'in a study: policy: {{"model": "{out}/model", "prompt_template": "none"}}',
    ):
        assert expected in result.output, expected
    assert "'loss'" not in result.output  # the trainer's own log
    assert json.loads((out / "config.json").read_text())["config"]["lora"]["alpha"] == 4.0
    assert train(*arguments, "--strict").exit_code == 2


def test_a_file_of_settings_with_what_is_typed_over_it(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text(yaml.safe_dump({"data": "hh.jsonl", "out": "a", "learning_rate": 1e-5, "lora": {"r": 4}}))
    job = load_job(file, [], {"out": None})
    assert job == SFTJob(data=(SourceSettings(source="hh.jsonl"),), out="a", learning_rate=1e-5, lora=LoraSettings(r=4))
    job = load_job(file, ["a: b.jsonl", "lora.layers=2", "seed=3"], {"out": "b", "lora.r": 8, "held_out_data": "#x"})
    assert [source.place for source in job.data] == ["a: b.jsonl"]
    assert [source.place for source in job.held_out_data] == ["#x"]
    assert (job.out, job.seed) == ("b", 3)
    assert job.lora == LoraSettings(r=8, layers=2)
    assert type(job.training) is SFTConfig
    assert job.training.learning_rate == 1e-5


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("seed=1").touch()
    assert load_job(None, ["seed=1", "seed=2"], {"out": "b"}).data == (SourceSettings(source="seed=1"),)
    job = load_job(None, ["data={source: alpaca.json, name: alpaca}"], {"out": "b"})
    assert job.data == (SourceSettings(source="alpaca.json", name="alpaca"),)


def test_bad_input_says_what_to_do(model: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, kind, problem in (
        (["--out", out], ConfigError, "data: missing"),
        ([rows], ConfigError, "out: missing"),
        ([rows, "--out", out, "bach_size=2"], ConfigError, "bach_size: unknown key. Did you mean 'batch_size'?"),
        ([rows, "--out", out, "lora.rank=2"], ConfigError, "lora.rank: unknown key"),
        ([rows, "--out", out, "--learn", "some"], ConfigError, "learn: input should be 'last' or 'all'"),
        ([rows, "--out", out, "--answers", "text"], ConfigError, "answers: input should be 'completion', 'reference'"),
        ([rows, "--out", out, "learning_rate=0"], ConfigError, "learning_rate: input should be greater than 0"),
        ([rows, "--out", out, "quantization=4bit"], ConfigError, "train an adapter beside them (lora)"),
        ([rows, "--out", out, "--config", tmp_path / "no.yaml"], ConfigError, "no.yaml"),
        ([tmp_path / "no.jsonl", "--out", out], DataError, "there is no file"),
        ([rows, "--out", out], DataError, "completion and reference could each be the answer"),
        ([rows, "--out", tmp_path, "--answers", "reference", "--model", model], StoreError, "is not empty"),
    ):
        result = train(*arguments)
        assert type(result.exception) is kind, (arguments, result.exception)
        assert problem in str(result.exception), arguments
    assert not out.exists()
