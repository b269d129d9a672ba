"""`proxygold generate` and `proxygold merge`: what is printed and written, and what is said of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxygold.cli.main import app
from proxygold.errors import ConfigError, DataError, ModelError, StoreError
from proxygold.models.generation import generate
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import PolicySettings, SamplingSettings


@pytest.fixture
def model(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    directory = tmp_path / "model"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def test_answers_are_printed_and_are_those_of_the_policy(model: Path) -> None:
    asked = ["generate", model, "--template", "none", "--prompt", "w1 w2", "--prompt", "w3", "--max-new-tokens", 12]
    result = run(*asked, "--samples", 8, "--dtype", "float32", "--device", "cpu")
    assert result.exit_code == 0, result.output
    settings = PolicySettings(model=str(model), prompt_template="none", dtype="float32", device="cpu")
    sampling = SamplingSettings(max_new_tokens=12, temperature=0.7)
    answers = generate(Policy.load(settings), ["w1 w2", "w3"], sampling, seed=0, samples_per_prompt=8)
    assert {answer.finished for answer in answers} == {True, False}
    texts = [answer.text + ("" if answer.finished else " […]") + "\n\n" for answer in answers]
    assert result.output == "".join(["> w1 w2\n", *texts[:8], "> w3\n", *texts[8:]])
    greedy = [run(*asked, "--temperature", 0, "--seed", seed).output for seed in (0, 1)]
    assert greedy[0] == greedy[1]


def test_answers_of_a_file_are_written_to_be_scored(model: Path, tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "w4"},
        {"role": "assistant", "content": "w5"},
        {"role": "user", "content": "w6"},
    ]
    prompts = tmp_path / "prompts.jsonl"
    lines = [{"id": "a", "prompt": "w1", "reference": "w2", "query_type": "closed_ended"}, {"id": "b", "prompt": talk}]
    lines += [{"id": "long", "prompt": "w1 " * 125}, {"id": "bad"}]
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "answers.jsonl"
    asked = ["generate", model, prompts, "--template", "none", "--max-new-tokens", 6, "--out", out]
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert f"2 answers  {out}" in result.output
    assert "left out long: a prompt of 125 tokens and 6 new ones do not fit the model's 128" in result.output
    assert "the field prompt is missing" in result.output
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prompt"] for row in written] == ["w1", talk]
    assert set(written[0]) == {"id", "prompt", "completion", "reference", "query_type", "tokens", "finished"}
    assert set(written[1]) == {"id", "prompt", "completion", "tokens", "finished"}
    assert run("score", out, "--reward", "LI * RP", "--out", tmp_path / "scored.jsonl").exit_code == 0

    refused = run(*asked)
    assert isinstance(refused.exception, StoreError)
    assert run(*asked, "--force", "--strict", "--limit", 1).exit_code == 0  # the rest is not read
    assert len(out.read_text().splitlines()) == 1
    assert run(*asked, "--force", "--strict").exit_code == 2


def test_a_model_without_the_usual_names_of_layers(small_gpt2: Path) -> None:
    result = run("generate", small_gpt2, "--template", "none", "--prompt", "w1", "--max-new-tokens", 3)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("> w1\n")


@pytest.fixture
def small_gpt2(tmp_path: Path, word_tokenizer: Any) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=16, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=0, bos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    word_tokenizer.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_a_merged_adapter_says_what_the_adapter_says(model: Path, tmp_path: Path, one_thread: None) -> None:
    import torch

    policy = Policy.load(PolicySettings(model=str(model), prompt_template="none", dtype="float32", device="cpu"))
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.1)
    policy.save_adapter(adapter := tmp_path / "step-1")
    result = run("merge", adapter, "--out", tmp_path / "merged")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == f"merged {adapter} into {model}"
    assert result.output.splitlines()[-1] == f"language model  {tmp_path}/merged"
    asked = ["--template", "none", "--prompt", "w1 w2", "--samples", 4, "--max-new-tokens", 8, "--dtype", "float32"]
    said = {name: run("generate", tmp_path / name, *asked).output for name in ("step-1", "merged", "model")}
    assert said["merged"] == said["step-1"] != said["model"]


def test_bad_input_says_what_to_do(model: Path, tmp_path: Path) -> None:
    (tmp_path / "runs/LI/step-2").mkdir(parents=True)
    (tmp_path / "runs/LI/step-2/adapter_config.json").write_text("{}")
    one = ["--prompt", "w1"]
    for arguments, kind, problem in (
        ([model], ConfigError, "there is nothing to answer"),
        ([model, *one], ConfigError, "no chat template"),
        ([model, *one, "--template", "alpca"], ConfigError, "Did you mean 'alpaca'?"),
        ([model, *one, "--template", "none", "--top-p", 0], ConfigError, "top_p: Input should be greater than 0"),
        ([model, *one, "--template", "none", "--max-new-tokens", 128], DataError, "no prompt can be answered"),
        ([model, tmp_path / "no.jsonl", "--template", "none"], DataError, "no.jsonl"),
        ([tmp_path / "nowhere", *one], ModelError, "is not a directory"),
        ([tmp_path / "runs", *one], ModelError, "Give one of those below it:"),
    ):
        result = run("generate", *arguments)
        assert type(result.exception) is kind, (arguments, result.exception)
        assert problem in str(result.exception), (arguments, result.exception)
