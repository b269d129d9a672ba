"""`proxygold score` with features that need a reference, a model or a package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import run

PROXYGOLD = Path(sys.executable).with_name("proxygold")
ROWS = [
    {"prompt": "Half of 3?", "completion": "#### 3/2", "reference": "1.5"},
    {"prompt": "Half of 3?", "completion": "It is 1,5 or so: 2.", "reference": "1.5"},
    {"prompt": "Where is Oslo?", "completion": "The answer is Norway.", "reference": "Norway"},
    {"prompt": "Where is Oslo?", "completion": "Norway", "reference": None},
]

# What an installation without the extra looks like: imports of its packages fail.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rouge_score", "sacrebleu", "math_verify"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""


def score(tmp_path: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = ("score", "in.jsonl", "--reward", line, "--out", "out.jsonl")
    if environment:  # Python reads some of it when it starts
        told = os.environ | environment
        return subprocess.run([PROXYGOLD, *command], cwd=tmp_path, capture_output=True, text=True, env=told)
    return run(*command, cwd=tmp_path)


def test_answers_are_matched(tmp_path: Path) -> None:
    result = score(tmp_path, "math_match + 0 * exact_match")
    assert (result.returncode, result.stderr) == (0, "")
    assert "4 rows, 2 scored by" in result.stdout
    assert "1 x math_match: the reference has no number and no formula" in result.stdout
    assert "1 x math_match: the example has no reference" in result.stdout
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["reward"] for row in rows] == [1, 0, None, None]
    assert [row["reward_parts"]["exact_match"] for row in rows] == [0, 0, 1, None]


@pytest.mark.parametrize("feature", ["rouge_l", "bleu", "chrf", "math_match"])
def test_a_missing_package_is_told_with_its_extra(tmp_path: Path, feature: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    result = score(tmp_path, feature, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {feature} needs ")
    assert "pip install 'proxygold[features]'" in result.stderr
    assert not (tmp_path / "out.jsonl").exists()
    assert score(tmp_path, "exact_match", PYTHONPATH=str(tmp_path)).returncode == 0  # which needs none of them


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fluency(model='./gone')", "there is no such directory"),
        ("toxicity(model='./gone')", "the classifier './gone' is not a directory"),
        ("cross_relevance(model='all-minilm-l6-v2')", "is no cross-encoder: it has no trained head"),
        ("bleu(n=4)", "bleu has no argument 'n'"),
        ("rouge_L", "Did you mean rouge_l?"),
    ],
)
def test_bad_input_is_told(tmp_path: Path, line: str, message: str) -> None:
    result = score(tmp_path, line)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_ctrl_c_while_answers_are_compared(tmp_path: Path) -> None:
    row = {"prompt": "x", "completion": r"\boxed{9^{9^{9^{%d}}}}", "reference": "1"}
    rows = [{**row, "completion": row["completion"] % n} for n in range(9, 200)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    process = subprocess.Popen(
        [str(PROXYGOLD), "score", "in.jsonl", "--reward", "math_match", "--out", "out.jsonl"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that was started in the background ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (workers := _children(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "stopped by Ctrl-C" in stderr
    assert "Traceback" not in stderr
    assert workers
    # Stopped while it started, the worker ends when it comes to read its input, a second later.
    deadline = time.monotonic() + 30
    while any(map(_runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_runs, workers))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in found]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended; only nobody has asked how
