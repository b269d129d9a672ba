"""A full disk under `proxygold train reward-model`: the message, the exit code, and what is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from proxygold.data.preferences import PreferencePair
from proxygold.errors import StoreError
from proxygold.training.reward_model import RewardModelConfig, train_reward_model

SETTINGS = {"batch_size": 4, "epochs": 2, "lora_layers": 1, "save_every": 1, "device": "cpu", "dtype": "float32"}
ALL = [PreferencePair(({"role": "user", "content": f"w{n}"},), "w1 w2", f"w3 w{n}") for n in range(1, 13)]
PAIRS, HELD_OUT = ALL[:8], ALL[8:]


@pytest.fixture
def model(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    """Of 16 tokens: the largest files of a checkpoint are those of torch."""
    directory = tmp_path / "model"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    (directory / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }} {% endfor %}")
    return directory


def checkpoints(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").glob("checkpoint-*"))


@pytest.mark.slow
def test_a_full_disk_stops_the_training_and_the_same_command_trains(
    proxygold: Any, model: Path, tmp_path: Path
) -> None:
    for name, pairs in (("pairs", PAIRS), ("held-out", HELD_OUT)):
        rows = [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [text for name, value in SETTINGS.items() for text in (f"--{name.replace('_', '-')}", value)]
    command = ["train", "reward-model", "pairs.jsonl", "--out", "out", "--model", model, *settings]
    command += ["--held-out", "held-out.jsonl"]
    out = tmp_path / "out"

    full = proxygold(*command, cwd=tmp_path, file_limit=8_000)
    assert full.returncode == 2, full.stderr
    assert "error: cannot write out/checkpoints: " in full.stderr
    assert "Free some space, then give the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    assert full.stdout == ""
    assert checkpoints(out) == []
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "config.json"]

    done = proxygold(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trained on 8 pairs in 4 steps" in done.stdout
    assert checkpoints(out) == ["checkpoint-3", "checkpoint-4"]
    assert sorted(path.name for path in out.iterdir()) == ["accuracy.json", "checkpoints", "config.json", "model"]


# What does not fit: TRL's model card, safetensors' weights, torch's optimiser. Each fails with an error of its own type.
@pytest.mark.parametrize("file_limit", [4_000, 6_000, 30_000])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_it(
    full_disk: Any, model: Path, tmp_path: Path, file_limit: int
) -> None:
    config, out = RewardModelConfig(model=str(model), **SETTINGS), tmp_path / "out"
    train_reward_model(config, PAIRS, out, held_out=HELD_OUT)
    # As if it had been stopped after step 3.
    shutil.rmtree(out / "checkpoints/checkpoint-4")
    shutil.rmtree(out / "model")
    (out / "accuracy.json").unlink()

    with full_disk(file_limit), pytest.raises(StoreError, match=r"cannot write .*/checkpoints: .*\. Free some space"):
        train_reward_model(config, PAIRS, out, held_out=HELD_OUT)
    assert checkpoints(out) == ["checkpoint-3"]
    assert sorted(path.name for path in out.iterdir()) == ["checkpoints", "config.json"]

    written = (out / "checkpoints/checkpoint-3/optimizer.pt").stat().st_mtime_ns
    assert train_reward_model(config, PAIRS, out, held_out=HELD_OUT).steps == 4
    assert checkpoints(out) == ["checkpoint-3", "checkpoint-4"]
    assert (out / "checkpoints/checkpoint-3/optimizer.pt").stat().st_mtime_ns == written  # step 3 was not done again
