"""A training that is killed and goes on, again and again, ends as one that never was: the same bytes, the same log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("killed_training.py")


def files(arm: Path) -> dict[str, bytes]:
    """Everything that is left of a training but its log, hidden files too."""
    return {
        str(path.relative_to(arm)): path.read_bytes()
        for path in arm.rglob("*")
        if path.is_file() and path.name != "train.jsonl"
    }


def log(arm: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (arm / "train.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.slow
def test_killed_at_twenty_moments_it_ends_as_one_never_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # forked processes must have one thread
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "20", "8"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"moments": 20, "writes": 8}
    whole = tmp_path / "whole"
    # 5 is validated, 12 is the end, and beside it the last but one is kept to go on from.
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["step-11", "step-12", "step-5"]
    assert [row["step"] for row in log(whole)] == list(range(1, 13))
    for killed in tmp_path.iterdir():
        assert log(killed) == log(whole), killed.name
        assert files(killed) == files(whole), killed.name
