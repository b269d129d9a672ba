"""Files of a run appear whole or not at all, and come back as they were written."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from proxygold.errors import StoreError
from proxygold.records import Rollout
from proxygold.store import RunDirectory, to_json, whole_directory, write_whole


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "study")


def test_json_has_null_where_python_has_nan_or_infinity() -> None:
    line = to_json({"a": math.nan, "b": [math.inf, 1.5], "c": np.float64("nan"), "d": np.int64(3), "e": "é"})
    assert line == '{"a": null, "b": [null, 1.5], "c": null, "d": 3, "e": "é"}'


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, "old")
    with pytest.raises(TypeError):
        write_whole(path, 3)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_directory_that_fails_half_way_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_directory(tmp_path / "checkpoint") as directory:
        (directory / "half").write_text("x")
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_directory_replaces_an_older_one_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with whole_directory(tmp_path / "checkpoint") as directory:
            (directory / name).write_text("x")
    assert os.listdir(tmp_path / "checkpoint") == ["second"]


def test_where_nothing_can_be_written_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StoreError, match=r"cannot write .*file/inner.*Nothing was written over"):
        write_whole(tmp_path / "file" / "inner", "x")


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


def test_damaged_rollouts_name_file_and_line(run: RunDirectory) -> None:
    arm = run.arm("LI", 0)
    arm.write_rollouts(0, [Rollout("a", "p", "c", 1, True)])
    with arm.rollouts(0).open("a") as file:
        file.write("{broken\n")
    with pytest.raises(StoreError, match=r"step-0\.jsonl:2 is not JSON.*Delete the file"):
        arm.read_rollouts(0)


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
