"""Checkpoints of any trainer are found with the step that their path says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxygold.errors import DataError
from proxygold.study.checkpoint_files import find_checkpoints, shared_base, step_of


def make(directory: Path, base: str | None = None) -> Path:
    """A directory that looks like a model's, or like an adapter's of `base`."""
    directory.mkdir(parents=True)
    if base is None:
        (directory / "config.json").write_text("{}")
    else:
        (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return directory


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("out/checkpoint-500", 500),  # transformers, TRL
        ("runs/hh/LI/seed-0/checkpoints/step-50", 50),  # proxygold
        ("ckpt/verl-7b/global_step_20/actor/huggingface", 20),  # verl
        ("ckpt/global_step120_hf", 120),  # OpenRLHF
        ("llama-2-7b/lr-1e-5/checkpoint-1000", 1000),
        ("checkpoint-100/step-7", 7),  # the last part that says it
        ("models/300", 300),
    ],
)
def test_the_step_is_read_off_the_path(path: str, step: int) -> None:
    assert step_of(path) == step


def test_every_pattern_is_one_training_run(tmp_path: Path) -> None:
    for seed in (0, 1):
        for step in (100, 20):
            make(tmp_path / f"s{seed}" / f"checkpoint-{step}")
    (tmp_path / "s0" / "checkpoint-30").mkdir()  # half a checkpoint
    (tmp_path / "s0" / "runs").mkdir()
    found = find_checkpoints([f"{tmp_path}/s0/*", f"{tmp_path}/s1/checkpoint-*"])
    assert [list(steps) for steps in found] == [[20, 100], [20, 100]]  # by number, not by name
    assert found[1][100] == str(tmp_path / "s1" / "checkpoint-100")


def test_a_step_can_be_given_to_a_directory(tmp_path: Path) -> None:
    sft, final = make(tmp_path / "sft"), make(tmp_path / "final")
    [steps] = find_checkpoints([f"500={final},0={sft}"])
    assert list(steps.items()) == [(0, str(sft)), (500, str(final))]
    with pytest.raises(DataError, match=rf"does not say which step it is\. .*--checkpoints 500={final}"):
        find_checkpoints([str(final)])


def test_what_cannot_be_taken_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/\* fits nothing\. Give directories of models"):
        find_checkpoints([f"{tmp_path}/nowhere/*"])
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"fits only such as .*/a, which has no config.json or adapter_config.json"):
        find_checkpoints([f"{tmp_path}/a"])
    for run in ("x", "y"):
        make(tmp_path / run / "checkpoint-5")
    with pytest.raises(DataError, match=r"x/checkpoint-5 and .*y/checkpoint-5 both are step 5\. .*once for each run"):
        find_checkpoints([f"{tmp_path}/*/checkpoint-5"])
    with pytest.raises(DataError, match=r"has no config\.json or adapter_config\.json"):
        find_checkpoints([f"500={tmp_path}/a"])


def test_adapters_say_what_they_were_made_for(tmp_path: Path) -> None:
    one, same, other = (make(tmp_path / name, base) for name, base in (("1", "base"), ("2", "base"), ("3", "another")))
    assert shared_base([str(one), str(same)]) == "base"
    assert shared_base([str(one), str(other)]) is None
    assert shared_base([str(one), str(make(tmp_path / "whole"))]) is None
    (one / "adapter_config.json").write_text("{")
    with pytest.raises(DataError, match=r"adapter_config\.json cannot be read"):
        shared_base([str(one)])
