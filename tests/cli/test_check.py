"""`proxygold check`, as a user types it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import run

PROXYGOLD = str(Path(sys.executable).with_name("proxygold"))

GOOD = """
from proxygold import feature

@feature("hedging")
def hedging(example, *, word="perhaps"):
    return min(1.0, example.completion.lower().count(word) / 10)
"""
BAD = """
import random
from proxygold import feature

@feature("dice")
def dice(example):
    return random.random()
"""


def check(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run("check", *arguments, cwd=directory, env={**os.environ, "HF_HUB_OFFLINE": "1"}, timeout=120)


def test_a_good_reward_passes_and_the_table_is_tab_separated(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(GOOD)
    line = 'LI * RP * (1 - hedging(word="maybe"))'
    result = check(tmp_path, "--reward", line, "--plugin", "own.py", "--json", "found.json")
    assert result.returncode == 0, result.stderr
    header, *rows = [row.split("\t") for row in result.stdout.splitlines()]
    assert header == ["check", "status", "seen", "remedy"]
    assert len(rows) == 22
    assert {len(row) for row in rows} == {4}
    assert {row[1] for row in rows} <= {"ok", "warn"}
    assert all(row[3] for row in rows if row[1] == "warn"), "what to do is said"
    wrote, last = result.stderr.splitlines()
    assert wrote == "wrote found.json"
    warnings = [row[1] for row in rows].count("warn")
    noun = "warning" if warnings == 1 else "warnings"
    line = "LI * RP * (1.0 - hedging(word='maybe'))"
    assert last == f"22 checks of {line}: {22 - warnings} ok, {warnings} {noun}, 0 failed"
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["line"], found["failed"], found["warned"]) == (line, 0, warnings)
    assert [[item["check"], item["status"]] for item in found["findings"]] == [row[:2] for row in rows]


def test_a_bad_reward_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(GOOD)
    (tmp_path / "dice.py").write_text(BAD)
    result = check(tmp_path, "--reward", "LI * dice - hedging", "--plugin", "own.py", "--plugin", "dice.py")
    assert result.returncode == 2
    rows = {row.split("\t")[0]: row.split("\t") for row in result.stdout.splitlines()[1:]}
    assert [name for name, row in rows.items() if row[1] == "FAIL"] == ["same twice"]
    assert rows["any order"][1:3] == ["skip", "cannot be told while 'same twice' is not ok"]
    assert result.stderr.splitlines()[-1].endswith(", 1 failed, 5 skipped")


def test_on_data_of_ones_own(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "word " * count, "stars": count} for count in range(1, 31)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{oops\n")
    (tmp_path / "stars.py").write_text(
        "from proxygold import feature\n@feature('stars', columns=['stars'])\n"
        "def stars(example):\n    return example.columns['stars']\n"
    )
    options = ("--reward", "stars", "--plugin", "stars.py")
    result = check(tmp_path, *options, "--data", "answers.jsonl")
    assert result.returncode == 0, result.stdout
    assert "scale\tok\t1 to 30, median 15.5\t" in result.stdout
    assert "needs stars; stars: the example has no stars" in result.stdout
    result = check(tmp_path, *options)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: stars needs the column stars, and the built-in answers have none. Give data that has it: --data FILE.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reward", "LI *"), "the line is not complete"),
        (("--reward", "hedgin"), "unknown name 'hedgin', at column 1"),
        (("--reward", "LI", "--plugin", "none.py"), "there is no plug-in file none.py"),
        (("--reward", "LI", "--data", "none.jsonl"), "none.jsonl"),
        (("--reward", "LI", "--data", "empty.jsonl"), "empty.jsonl"),
        (("--reward", "LI", "--plugin", "own.py", "plugins=[own.py]"), "Give them in one way"),
        (("--reward", "QR", "--encoder", "no/such-encoder"), "no/such-encoder"),
        (("--reward", "LI", "template=alpacca"), "Did you mean 'alpaca'"),
        ((), "--reward"),
    ],
)
def test_wrong_input(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "own.py").write_text(GOOD)
    (tmp_path / "empty.jsonl").write_text("")
    result = check(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_table_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "150", "TERM": "xterm"}
    process = subprocess.Popen(
        [PROXYGOLD, "check", "--reward", "LI * RP"], stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0
    text = shown.decode()
    assert "checking: " in text, "the check at work is shown"
    assert "what to do" in text
    assert "\t" not in text
    last = text.replace("\r", "").rstrip("\n").splitlines()[-1]
    assert "22 checks of LI * RP: 20 ok, 2 warnings, 0 failed" in last


def test_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nfrom proxygold import feature\n@feature('slow')\n"
        "def slow(example):\n    open('begun', 'w').close()\n    time.sleep(0.2)\n    return len(example.completion)\n"
    )
    process = subprocess.Popen(
        [PROXYGOLD, "check", "--reward", "slow", "--plugin", "slow.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A suite run in the background of a shell ignores SIGINT, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in said
    assert "Traceback" not in said
