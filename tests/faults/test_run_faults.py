"""Bad luck and bad input to `proxygold run`, as a user meets them: the message, the exit code, and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxygold.store import RunDirectory


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.model=./nowhere", "./nowhere"),
        ("gold.model=./nowhere", "reward model './nowhere' is not a directory"),
        ("data.train=missing.jsonl", "there is no file missing.jsonl"),
        ("rewards={LI: 'LI * RPP'}", "RPP"),
        ("policy.prompt_template=alpacca", "Did you mean 'alpaca'?"),
        ("policy.lora.target_modules=[q_project]", "q_project"),
        ("training.stepz=3", "Did you mean 'steps'?"),
    ],
)
def test_bad_input_is_2_and_leaves_no_run(proxygold: Any, study_file: Path, override: str, message: str) -> None:
    done = proxygold("run", study_file, override, cwd=study_file.parent)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not RunDirectory(study_file.parent / "runs" / "tiny").exists() or "policy" in override


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(proxygold: Any, study_file: Path) -> None:
    # The checkpoint's adapter or optimiser state is larger than any log, so the first checkpoint is what fails.
    full = proxygold("run", study_file, cwd=study_file.parent, file_limit=4_000)
    assert full.returncode == 2, full.stderr
    assert "cannot write" in full.stderr
    assert "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    arm = RunDirectory(study_file.parent / "runs" / "tiny").arm("LI", 0)
    assert arm.checkpoint_steps() == []  # nothing half written
    assert not [path for path in arm.path.rglob("*") if ".tmp" in path.name]

    done = proxygold("run", study_file, cwd=study_file.parent)
    assert done.returncode == 0, done.stderr
    assert arm.checkpoint_steps() == [2, 4, 6]
    assert [row["step"] for row in arm.read_steps()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_piped_output_is_the_verdict_and_where_things_are(proxygold: Any, study_file: Path) -> None:
    done = proxygold("run", study_file, cwd=study_file.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "inconclusive" in done.stdout
    assert "report  runs/tiny/report.html" in done.stdout


def test_left_out_prompts_are_told_and_strict_makes_them_2(proxygold: Any, study_file: Path) -> None:
    for name, lines in (("train", 2), ("validation", 1)):
        with (study_file.parent / f"{name}.jsonl").open("a") as file:
            file.write("{broken\n" * lines)
    done = proxygold("run", study_file, "--strict", cwd=study_file.parent)
    assert done.returncode == 2
    assert (
        "2 train and 1 validation prompts were left out: runs/tiny/rejected.jsonl lists each with its reason."
        in done.stdout
    )
