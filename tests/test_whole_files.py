"""Files appear whole or not at all, whatever happens to their writer, and what a killed writer left goes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxygold.errors import StoreError
from proxygold.whole_files import whole_directory, whole_file, write_whole


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


def test_the_old_directory_is_there_until_the_new_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "checkpoint"
    with whole_directory(target) as directory:
        (directory / "first").touch()
    with pytest.raises(RuntimeError), whole_directory(target) as directory:
        raise RuntimeError
    assert os.listdir(target) == ["first"]

    def refuse(self: Path, to: Path) -> Path:
        if to == target and self.suffix == ".tmp":
            raise OSError(28, "No space left on device")
        return rename(self, to)

    rename = Path.rename
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="cannot write .*No space left"), whole_directory(target) as directory:
        (directory / "second").touch()
    assert os.listdir(target) == ["first"]
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_directory_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(StoreError, match="cannot write"), whole_directory(tmp_path / "precious"):
        pass
    assert (tmp_path / "precious").read_text() == "x"
    assert os.listdir(tmp_path) == ["precious"]


WRITER = """
import sys, time
from pathlib import Path
from proxygold import whole_files

kind, target = sys.argv[1], Path(sys.argv[2])

def wait(*arguments):
    print("waiting", flush=True)
    time.sleep(60)

if kind == "replacing":  # dies between the two renames
    rename = Path.rename
    Path.rename = lambda self, to: wait() if self.suffix == ".tmp" else rename(self, to)
with (whole_files.whole_file if kind == "file" else whole_files.whole_directory)(target) as temporary:
    ((temporary / "new") if temporary.is_dir() else temporary).write_text("half")
    if kind != "replacing":
        wait()
"""


def writer(kind: str, target: Path) -> subprocess.Popen[str]:
    """Another process in the middle of writing `target`."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, kind, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    return process


def writers(directory: Path) -> set[int]:
    """The processes whose unfinished files are in `directory`."""
    found = (re.search(r"\.(\d+)\.[0-9a-f]{8}\.tmp$", name) for name in os.listdir(directory))
    return {int(match[1]) for match in found if match}


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_a_killed_writer_left_goes_at_the_next_write_and_a_live_ones_stays(tmp_path: Path, kind: str) -> None:
    target, other = tmp_path / "target", tmp_path / "target.b"
    dead, living, elsewhere = writer(kind, target), writer(kind, target), writer(kind, other)
    try:
        kill(dead)
        kill(elsewhere)
        assert writers(tmp_path) == {dead.pid, living.pid, elsewhere.pid}
        (tmp_path / ".target.tmp").touch()  # not a name of ours
        if kind == "file":
            write_whole(target, "whole")
        else:
            with whole_directory(target) as directory:
                (directory / "new").write_text("whole")
        assert writers(tmp_path) == {living.pid, elsewhere.pid}
        assert (tmp_path / ".target.tmp").exists()
    finally:
        kill(living)
    assert (target if kind == "file" else target / "new").read_text() == "whole"


def test_a_writer_killed_between_its_renames_has_not_lost_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with whole_directory(target) as directory:
        (directory / "old").touch()
    process = writer("replacing", target)
    kill(process)
    assert not target.exists()
    with pytest.raises(RuntimeError), whole_directory(target):
        raise RuntimeError  # the next writer fails too
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert os.listdir(target) == ["old"]


def test_a_file_gets_the_permissions_that_any_new_file_gets(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with whole_file(tmp_path / "ours") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode
