"""Whether a model is still the one that it was."""

from __future__ import annotations

import shutil
from pathlib import Path

from proxygold.models.fingerprint import checkpoint_fingerprint


def write(directory: Path, size: int) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(bytes(size))
    return directory


def test_it_changes_with_any_file_and_not_with_the_place(tmp_path: Path) -> None:
    first = write(tmp_path / "first", size=1000)
    moved = shutil.copytree(first, tmp_path / "moved")
    original = checkpoint_fingerprint(str(first))
    assert checkpoint_fingerprint(str(moved)) == original
    (moved / ".cache").mkdir()
    (moved / ".cache" / "download.lock").write_text("")
    assert checkpoint_fingerprint(str(moved)) == original
    (moved / "model.safetensors").write_bytes(bytes(999) + b"1")
    assert checkpoint_fingerprint(str(moved)) != original
    (first / "config.json").rename(first / "other.json")
    assert checkpoint_fingerprint(str(first)) != original


def test_large_weights_are_sampled_from_end_to_end(tmp_path: Path) -> None:
    directory = write(tmp_path / "large", size=40 << 20)
    original = checkpoint_fingerprint(str(directory))
    weights = directory / "model.safetensors"
    for place in (0, (40 << 20) - 1):
        with weights.open("r+b") as file:
            file.seek(place)
            file.write(b"1")
        changed = checkpoint_fingerprint(str(directory))
        assert changed != original
        original = changed


def test_a_model_of_the_hub_is_its_name_until_it_is_downloaded() -> None:
    assert checkpoint_fingerprint("someone/model") == checkpoint_fingerprint("someone/model")
    assert checkpoint_fingerprint("someone/model") != checkpoint_fingerprint("someone/other")
