"""Supervised fine-tuning end to end, on a model of sixteen words."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from proxygold.data.demonstrations import Demonstration
from proxygold.errors import ConfigError, DataError, ModelError, StoreError
from proxygold.models.causal_lm import load_causal_lm
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.models.prompt_tokens import PromptTokens
from proxygold.training.answer_loss import answer_loss
from proxygold.training.sft import train_sft
from proxygold.training.sft_config import SFTConfig
from proxygold.training.sft_rows import IGNORED, Row, encode_rows

CPU = torch.device("cpu")


def row(prompt: str, answer: str) -> Demonstration:
    return Demonstration(({"role": "user", "content": prompt},), answer)


# Of unlike lengths, so that a mean over rows is no mean over tokens.
ROWS = [row("w1 w2", "w5"), row("w3", "w5 w6 w7 w5 w6"), row("w4 w4 w4 w4", "w6 w6"), row("w2", "w7 w5 w6 w7")]
HELD_OUT = [row("w9", "w5 w6"), row("w8 w8", "w6")]


@pytest.fixture(scope="module")
def start(tmp_path_factory: Any, tiny_llama: Any, word_tokenizer: Any) -> Path:
    directory: Path = tmp_path_factory.mktemp("start")
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def config(start: Path) -> Any:
    def build(**changes: Any) -> SFTConfig:
        given = {
            "model": str(start),
            "prompt_template": "none",
            "max_steps": 3,
            "learning_rate": 1e-2,
            "warmup_ratio": 0.0,
            "gradient_accumulation_steps": 2,
            "max_length": 16,
            "save_every": 1,
            "device": "cpu",
            "dtype": "float32",
            "held_out": 0.0,
        }
        return SFTConfig(**{**given, **changes})

    return build


def encoded(start: Path, rows: list[Demonstration], tokenizer: Any) -> list[Row]:
    model = load_causal_lm(str(start), torch.float32, CPU)
    reader = PromptTokens(PolicySettings(model="m", prompt_template="none"), tokenizer, model.config)
    return encode_rows(reader, rows, frozenset({0}), max_length=99).rows


def mean_loss(model: Any, rows: list[Row]) -> torch.Tensor:
    """Over all learned tokens, row by row and written out: nothing of TRL's, no padding, no chunks."""
    losses = []
    for item in rows:
        logprobs = model(input_ids=torch.tensor([item.ids])).logits[0].log_softmax(-1)
        losses += [
            -logprobs[i - 1, t]
            for i, (t, label) in enumerate(zip(item.ids, item.labels, strict=True))
            if label != IGNORED
        ]
    return torch.stack(losses).mean()


def test_it_trains_as_a_plain_loop_does(
    config: Any, start: Path, word_tokenizer: Any, tmp_path: Path, one_thread: None
) -> None:
    """Three steps of AdamW on a cosine, each on all four rows: TRL in two passes of two, here in one."""
    rows = encoded(start, ROWS, word_tokenizer)
    # By hand: "w1 w2" and "w5" are three words, and the end is learned too.
    assert rows[0] == Row([1, 2, 5, 0], [IGNORED, IGNORED, 5, 0])
    result = train_sft(config(), ROWS, tmp_path / "out", held_out=HELD_OUT)
    assert (result.rows, result.learned_tokens, result.steps, result.held_out_rows) == (4, 16, 3, 2)

    model = load_causal_lm(str(start), torch.float32, CPU)
    before = mean_loss(model, encoded(start, HELD_OUT, word_tokenizer)).item()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for step in range(3):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / 3))
        loss = mean_loss(model, rows)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    trained = load_causal_lm(str(result.directory), torch.float32, CPU)
    for (name, theirs), ours in zip(model.named_parameters(), trained.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5), name
    log = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3]
    assert [entry["loss"] for entry in log] == pytest.approx(losses, abs=1e-4)
    assert result.before is not None
    assert result.after is not None
    assert result.before.loss == pytest.approx(before, abs=1e-5)
    after = mean_loss(trained, encoded(start, HELD_OUT, word_tokenizer)).item()
    assert result.after.loss == pytest.approx(after, abs=1e-4)
    assert result.after.tokens == 5


def test_a_stopped_training_goes_on_exactly(config: Any, tmp_path: Path, one_thread: None) -> None:
    settings = config(
        max_steps=4, batch_size=1, gradient_accumulation_steps=1, lora=LoraSettings(r=2, alpha=4, dropout=0.1)
    )
    out = tmp_path / "out"
    train_sft(settings, ROWS[:3], out)
    names = ("model/adapter_model.safetensors", "train.jsonl", "result.json")
    whole = {name: (out / name).read_bytes() for name in names}
    # As if it had been stopped in its second epoch, after step 3 was saved... and before.
    for name in ("checkpoints/checkpoint-4", "model"):
        shutil.rmtree(out / name)
    for name in ("train.jsonl", "result.json"):
        (out / name).unlink()
    train_sft(settings, ROWS[:3], out)
    assert {name: (out / name).read_bytes() for name in names} == whole
    # Done is done: nothing is trained, nothing is written.
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    train_sft(settings, ROWS[:3], out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == written


def test_an_adapter_learns_answers_and_becomes_the_policys_start(
    config: Any, start: Path, word_tokenizer: Any, tmp_path: Path, one_thread: None
) -> None:
    settings = config(
        max_steps=25,
        learning_rate=3e-2,
        save_every=100,
        lora=LoraSettings(r=8, alpha=16, target_modules=("q_proj", "v_proj", "up_proj", "down_proj")),
    )
    rows = [row(f"w{n}", "w5 w6 w7") for n in range(1, 5)]
    result = train_sft(settings, rows, tmp_path / "out", held_out=[row("w9", "w5 w6 w7")])
    assert result.before is not None
    assert result.after is not None
    assert result.after.loss < result.before.loss - 1
    names = {path.name for path in result.directory.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    adapter = json.loads((result.directory / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(start)
    assert all(
        tensor.dtype == torch.float32 for tensor in load_file(result.directory / "adapter_model.safetensors").values()
    )

    policy = Policy.load(
        PolicySettings(model=str(result.directory), prompt_template="none", device="cpu", dtype="float32")
    )
    unseen = encoded(start, [row("w9", "w5 w6 w7")], word_tokenizer)
    assert answer_loss(policy.causal_lm, unseen, name="m").loss == pytest.approx(result.after.loss, abs=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_changes_no_number(
    config: Any, tmp_path: Path, one_thread: None, checkpointing: bool
) -> None:
    result = train_sft(config(gradient_checkpointing=checkpointing), ROWS, tmp_path / "out")
    other = train_sft(config(), ROWS, tmp_path / "other")
    one, two = (load_file(item.directory / "model.safetensors") for item in (result, other))
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert (result.before, result.after) == (None, None)  # nothing was held out


def test_weights_are_stored_in_the_dtype_of_the_training_and_tied_ones_once(
    config: Any, start: Path, tmp_path: Path
) -> None:
    result = train_sft(config(max_steps=1, dtype="bfloat16"), ROWS, tmp_path / "out")
    stored = load_file(result.directory / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert stored.keys() == load_file(start / "model.safetensors").keys()
    assert "lm_head.weight" not in stored  # it is the embedding
    assert json.loads((result.directory / "config.json").read_text())["dtype"] == "bfloat16"
    assert load_causal_lm(str(result.directory), torch.float32, CPU).dtype == torch.float32


def test_answer_loss_is_over_tokens_whatever_shares_a_pass(tiny_llama: Any, monkeypatch: Any) -> None:
    rows = [Row([1, 2, 5, 0], [IGNORED, 2, 5, 0]), Row([3, 7], [3, 7]), Row([4] * 9, [IGNORED] * 8 + [4])]
    model = tiny_llama()
    expected = mean_loss(model, [rows[0], Row([3, 7], [IGNORED, 7]), rows[2]]).item()  # nothing predicts a first token
    for tokens, positions in ((8192, 512), (1, 1), (10, 2)):
        monkeypatch.setattr("proxygold.training.answer_loss._TOKENS", tokens)
        monkeypatch.setattr("proxygold.training.answer_loss._POSITIONS", positions)
        found = answer_loss(model, rows, name="m")
        assert found.loss == pytest.approx(expected, abs=1e-5)
        assert found.tokens == 5


def test_rows_that_cannot_be_used_are_counted(config: Any, tmp_path: Path) -> None:
    long, bad = row("w1", "w2 " * 20), Demonstration(({"role": "user", "content": "w1"},), "w2 <end>", "rows.jsonl:9")
    result = train_sft(config(max_steps=1), [*ROWS, long, bad], tmp_path / "out", held_out=[*HELD_OUT, ROWS[0], long])
    assert (result.rows, result.shared, result.too_long, result.held_out_rows) == (3, 3, 1, 3)
    assert (
        result.refused == ()
    )  # `bad` and `long` begin as ROWS[0] does not; both share the prompt of the held-out long
    result = train_sft(config(max_steps=1), [*ROWS, long, bad], tmp_path / "other")
    assert (result.rows, result.too_long) == (4, 1)
    assert result.refused == ("rows.jsonl:9: the answer has the text of an end-of-sequence token in it; remove it.",)
    with pytest.raises(
        DataError, match=r"none of the 2 rows to train on can be used: 1 have more than 16 tokens, 1 were"
    ):
        train_sft(config(), [long, bad], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_another_training_is_not_written_over(config: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train_sft(config(max_steps=1), ROWS, out)
    for settings, rows in ((config(max_steps=2), ROWS), (config(max_steps=1), ROWS[1:])):
        with pytest.raises(StoreError, match="has a training with other settings or other rows"):
            train_sft(settings, rows, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("x")
    with pytest.raises(StoreError, match="is not empty and is no supervised fine-tuning"):
        train_sft(config(), ROWS, tmp_path / "mine")


def test_wrong_settings_are_told(config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="4bit holds the weights in a form that cannot be trained; train an"):
        config(quantization="4bit")
    with pytest.raises(ConfigError, match="its linear layers|Its linear layers"):
        train_sft(config(lora=LoraSettings(target_modules=("query",))), ROWS, tmp_path / "out")
    with pytest.raises(ConfigError, match="no chat template"):
        train_sft(config(prompt_template="chat"), ROWS, tmp_path / "other")
    with pytest.raises(ModelError, match="there is no such directory"):
        train_sft(config(model="/nowhere"), ROWS, tmp_path / "another")
    assert list(tmp_path.iterdir()) == []  # so that the corrected command may use the same directory
