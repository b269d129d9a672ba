"""`proxygold train reward-model`: its table, and what it says of bad input."""

import json

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from proxygold.cli.train import app
from proxygold.errors import ConfigError, DataError
from proxygold.models.bundled import bundled_policy_path


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(bundled_policy_path())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {"prompt": f"Question {number}?", "chosen": f"Yes, {number}.", "rejected": "No." + " No." * (number % 3)}
        for number in range(20)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "{not json"]) + "\n")
    return path


@pytest.fixture
def held_out(tmp_path):
    rows = [
        {"prompt": f"Question {number}?", "chosen": f"Yes, {number}.", "rejected": "No."} for number in range(18, 24)
    ]
    path = tmp_path / "held-out.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "[]"]) + "\n")
    return path


def train(*arguments):
    return CliRunner().invoke(app, ["reward-model", *map(str, arguments)], env={"COLUMNS": "200"})


def test_it_trains_and_prints_what_the_model_is_worth(pairs, held_out, tiny_model, tmp_path):
    out = tmp_path / "out"
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for message in messages %}{% if message.content == 'Question 3?' %}{{ raise_exception('no threes') }}"
        "{% endif %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>{% endfor %}"
    )
    arguments = [
        pairs, "--out", out, "--model", tiny_model, "--epochs", 1, "--held-out", held_out, "--dtype", "float32",
        "--chat-template", template,
    ]  # fmt: skip
    result = train(*arguments)
    assert result.exit_code == 0, result.output
    for expected in (
        "Accuracy on held-out pairs",
        "longer is better, all pairs",
        "matched in length (within 20%)",
        "trained on 17 pairs in 3 steps",  # 20 less two that are held out, less one refused, in batches of 8
        "0 pairs over 256 tokens were left out",
        f"2 pairs were not trained on: their prompts are in {held_out} too",
        "3 rows could not be used",
        "pairs.jsonl:21: not JSON",
        "held-out.jsonl:7: a JSON list",
        "pairs.jsonl:4: the reward model's chat template refuses the conversation: no threes",
        str(out / "model"),
    ):
        assert expected in result.output.replace("\n", " ") or expected in result.output.replace("\n", "")
    assert "'loss'" not in result.output  # the trainer's own log
    assert (out / "accuracy.json").is_file()
    assert train(*arguments, "--strict").exit_code == 2


def test_bad_input_says_what_to_do(pairs, tmp_path):
    result = train(tmp_path / "nowhere.jsonl", "--out", tmp_path / "out")
    assert isinstance(result.exception, DataError)
    assert "there is no file" in str(result.exception)

    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n')
    result = train(bad, "--out", tmp_path / "out")
    assert isinstance(result.exception, DataError)
    assert "no row of" in str(result.exception)
    assert "bad.jsonl:1: missing or empty field 'chosen'" in str(result.exception)

    result = train(pairs, "--out", tmp_path / "out", "--learning-rate", -1)
    assert isinstance(result.exception, ConfigError)
    assert "learning_rate" in str(result.exception)

    result = train(pairs, "--out", tmp_path / "out", "--chat-template", tmp_path / "none.jinja")
    assert isinstance(result.exception, ConfigError)
    assert "cannot read the chat template" in str(result.exception)

    result = train(pairs, "--out", tmp_path / "out", "--held-out", pairs)
    assert isinstance(result.exception, DataError)
    assert "all 20 pairs to train on begin with the prompt of a held-out pair" in str(result.exception)

    for seed in (-1, 2**32):
        result = train(pairs, "--out", tmp_path / "out", "--seed", seed)
        assert result.exit_code == 2
        assert "Invalid value for '--seed'" in result.output
    assert not (tmp_path / "out").exists()
