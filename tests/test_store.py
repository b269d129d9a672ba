"""Files of a run come back as they were written, and a damaged one is named."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from proxygold.errors import StoreError
from proxygold.records import Rollout
from proxygold.store import RunDirectory, to_json


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "study")


def test_json_has_null_where_python_has_nan_or_infinity() -> None:
    line = to_json({"a": math.nan, "b": [math.inf, 1.5], "c": np.float64("nan"), "d": np.int64(3), "e": "é"})
    assert line == '{"a": null, "b": [null, 1.5], "c": null, "d": 3, "e": "é"}'


def test_rollouts_come_back_equal(run: RunDirectory) -> None:
    rollouts = [
        Rollout("a", "Hi\u2028there", "line one\nline two", 7, True, None, "open_ended"),
        Rollout("b", [{"role": "user", "content": "Hello"}], "", 0, False, "ref", None),
    ]
    arm = run.arm("LI", 3)
    arm.write_rollouts(10, rollouts)
    assert arm.read_rollouts(10) == rollouts
    assert arm.rollout_steps() == [10]
    assert arm.path == run.path / "LI" / "seed-3"


def test_scores_come_back_with_nulls(run: RunDirectory) -> None:
    arm = run.arm("LI", 0)
    table = pa.table({"prompt_id": ["a", "b"], "proxy": pa.array([0.5, None], type=pa.float64())})
    for step in (100, 20, 3):
        arm.write_scores(step, table)
    assert arm.score_steps() == [3, 20, 100]  # by number, not by name
    assert arm.read_scores(20).equals(table)


def test_log_grows_and_is_cut_back(run: RunDirectory) -> None:
    arm = run.arm("LI", 0)
    for step in range(1, 6):
        arm.append_step({"step": step, "reward": step / 2})
    arm.cut_log(3)
    arm.append_step({"step": 4, "reward": 9.0})
    assert [row["reward"] for row in arm.read_steps()] == [0.5, 1.0, 1.5, 9.0]


def test_half_a_last_line_is_not_read_and_goes_when_the_log_is_cut(run: RunDirectory) -> None:
    arm = run.arm("LI", 0)
    arm.append_step({"step": 1})
    with arm.train_log.open("a") as file:
        file.write('{"step": 2, "rew')
    assert arm.read_steps() == [{"step": 1}]
    arm.cut_log(1)
    assert arm.train_log.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{broken", r"train\.jsonl:2 is not JSON \(Expecting .* at column 2\)\. Delete that line"),
        (b"\0" * 20, r"train\.jsonl:2 is not JSON"),  # what a power cut can leave
        (b'{"step": "\xff"}', r"train\.jsonl:2 is not JSON \('utf-8' codec"),
        (b"3", r"train\.jsonl:2 is not a record of this kind\. Delete that line"),
        (b'{"reward": 1}', r"train\.jsonl:2 is not a record of this kind"),
    ],
)
def test_a_damaged_line_of_the_log_names_file_and_line(run: RunDirectory, line: bytes, message: str) -> None:
    arm = run.arm("LI", 0)
    arm.append_step({"step": 1})
    with arm.train_log.open("ab") as file:
        file.write(line + b"\n")
    arm.append_step({"step": 3})
    for read in (arm.read_steps, lambda: arm.cut_log(3)):
        with pytest.raises(StoreError, match=message):
            read()
    arm.cut_log(1)  # what comes after is dropped, damaged or not
    assert arm.train_log.read_text() == '{"step": 1}\n'


def test_damaged_rollouts_name_file_and_line(run: RunDirectory) -> None:
    arm = run.arm("LI", 0)
    arm.write_rollouts(0, [Rollout("a", "p", "c", 1, True)])
    whole = arm.rollouts(0).read_text()
    for line, message in (
        ("{broken", "is not JSON"),
        ("{}", "is not a record"),
        ('{"prompt_id": "b"}', "is not a record"),
    ):
        arm.rollouts(0).write_text(f"{whole}{line}\n")
        with pytest.raises(StoreError, match=rf"step-0\.jsonl:2 {message}.*Delete the file"):
            arm.read_rollouts(0)
    arm.rollouts(0).write_text("")
    with pytest.raises(StoreError, match=r"step-0\.jsonl is empty\. Delete the file"):
        arm.read_rollouts(0)


def test_damaged_scores_name_the_file(run: RunDirectory) -> None:
    arm = run.arm("LI", 0)
    arm.write_scores(20, pa.table({"prompt_id": ["a"], "proxy": [0.5]}))
    arm.scores(20).write_bytes(arm.scores(20).read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"step-20\.parquet cannot be read .*Delete the file"):
        arm.read_scores(20)


def test_what_is_no_checkpoint_is_passed_over(run: RunDirectory) -> None:
    arm = run.arm("LI", 0)
    arm.write_scores(20, pa.table({"prompt_id": ["a"]}))
    (arm.scores(20).parent / "step-20 (copy).parquet").touch()
    assert arm.score_steps() == [20]
    assert arm.checkpoint_steps() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"name: x\nrewards: {LI: LI\nseeds: [0]\n", r"study\.yaml is damaged: line 3, "),
        (b"name: \xff\n", r"study\.yaml is damaged: .*codec"),
        (b"\0\0\0", r"study\.yaml is damaged: unacceptable character"),
        (b"just text\n", r"study\.yaml is damaged: it has no keys and values\. .*another name"),
        (b"rewards: [LI]\nseeds: [0]\n", r"study\.yaml is damaged: it lacks the rewards"),
        (b"rewards: {LI: LI}\n", r"study\.yaml is damaged: it lacks .* the list of seeds"),
    ],
)
def test_a_damaged_study_names_the_file(run: RunDirectory, text: bytes, message: str) -> None:
    run.path.mkdir(parents=True)
    run.study_file.write_bytes(text)
    with pytest.raises(StoreError, match=message) as caught:
        run.arms()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b'{"version": ', b"\xff", b"[1]"])
def test_a_damaged_provenance_names_the_file(run: RunDirectory, text: bytes) -> None:
    run.path.mkdir(parents=True)
    run.provenance_file.write_bytes(text)
    with pytest.raises(StoreError, match=r"provenance\.json is damaged: .*put it back from a copy"):
        run.read_provenance()


def test_rejected_prompts_come_back(run: RunDirectory) -> None:
    assert run.read_rejected() == []
    rows = [{"split": "train", "id": "line-3", "reason": "not JSON"}]
    run.write_rejected(rows)
    assert run.read_rejected() == rows
    with run.rejected_file.open("a") as file:
        file.write("{}\n")
    with pytest.raises(StoreError, match=r"rejected\.jsonl:2 is not a record of this kind\. Delete that line"):
        run.read_rejected()


def test_no_run_says_what_to_give(run: RunDirectory) -> None:
    with pytest.raises(StoreError, match="is not a run: it has no study.yaml"):
        run.read_study()


def test_arms_come_in_the_studys_order(run: RunDirectory) -> None:
    run.write_study({"rewards": {"RER": "RER", "LI": "LI"}, "seeds": [1, 0]})
    for reward, seed in (("LI", 0), ("RER", 0), ("RER", 1)):
        run.arm(reward, seed).append_step({"step": 1})
    assert [(arm.reward, arm.seed) for arm in run.arms()] == [("RER", 1), ("RER", 0), ("LI", 0)]


def test_provenance_round_trips(run: RunDirectory) -> None:
    assert run.read_provenance() == {}
    run.write_provenance({"version": "1", "x": math.nan})
    assert run.read_provenance() == {"version": "1", "x": None}
    assert json.loads(run.provenance_file.read_text())["version"] == "1"


HOLD = """
import sys, time
from pathlib import Path
from proxygold.store import RunDirectory
with RunDirectory(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(run: RunDirectory) -> None:
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(StoreError, match="in use by another process"), run.lock():
                pass
        finally:
            process.kill()
    with run.lock():
        pass
