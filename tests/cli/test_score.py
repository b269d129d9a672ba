"""`proxygold score`, as a user types it."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from command_line import run as proxygold

PROXYGOLD = Path(sys.executable).with_name("proxygold")

# LI counts words and punctuation. By hand: 10 of them, all trigrams different; then 8, whose 6 trigrams are
# (a b .) (b . a) (. a b) (a b .) (b . a)(. a b): 3 different of 6.
GOOD = [
    {"prompt": "Say ten.", "completion": "one two three four five six seven eight nine ten", "source": "mine"},
    {"prompt": [{"role": "user", "content": "Repeat."}], "completion": "a b. a b. a b"},
]


def score_lengths(
    directory: Path, out: str, *options: str, file_limit: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Score `in.jsonl` by its length."""
    command = ("score", "in.jsonl", "--reward", "LI", "--out", out, *options)
    return proxygold(*command, cwd=directory, file_limit=file_limit)


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_get_their_reward_and_its_parts(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    result = proxygold("score", "in.jsonl", "--reward", "LI * RP", "--out", "out.jsonl", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "wrote out.jsonl: 2 rows, 2 scored by LI * RP\n"
    rows = read(tmp_path / "out.jsonl")
    assert rows[0] == {**GOOD[0], "reward": 0.1, "reward_parts": {"LI": 0.1, "RP": 1.0, "LI * RP": 0.1}}
    assert rows[1]["reward_parts"] == {"LI": 0.08, "RP": 0.5, "LI * RP": 0.04}
    assert rows[1]["prompt"] == GOOD[1]["prompt"]


def test_bad_rows_are_listed_and_good_ones_scored(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [GOOD[0], "{oops", {"prompt": "x"}, "", GOOD[1]])
    command = ("score", "in.jsonl", "--reward", "LI", "--out", "out.jsonl")
    result = proxygold(*command, cwd=tmp_path)
    assert result.returncode == 0
    assert "2 rows rejected, listed in out.jsonl.rejected.jsonl" in result.stdout
    assert "in.jsonl:2: not JSON" in result.stdout
    assert "in.jsonl:3: the field completion is missing" in result.stdout
    assert len(read(tmp_path / "out.jsonl")) == 2
    assert [row["line"] for row in read(tmp_path / "out.jsonl.rejected.jsonl")] == [2, 3]
    strict = proxygold(*command, "--strict", "--force", cwd=tmp_path)
    assert strict.returncode == 2
    assert len(read(tmp_path / "out.jsonl")) == 2
    # Scored again without bad rows, the old list would mislead.
    write(tmp_path / "in.jsonl", GOOD)
    assert proxygold(*command, "--force", cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_what_cannot_be_computed_is_null_with_a_reason(tmp_path: Path) -> None:
    rows = [{**GOOD[0], "query_type": "open_ended"}, {**GOOD[0], "query_type": None}]
    write(tmp_path / "in.jsonl", rows)
    line = "branch(open_ended = LI, closed_ended = RP)"
    result = proxygold("score", "in.jsonl", "--reward", line, "--out", "out.jsonl", cwd=tmp_path)
    assert result.returncode == 0
    assert "2 rows, 1 scored by" in result.stdout
    assert "1 row without a score (line 2):" in result.stdout
    scored, not_scored = read(tmp_path / "out.jsonl")
    assert scored["reward"] == 0.1
    assert "reward_reason" not in scored
    assert scored["reward_parts"]["RP"] is None  # not selected
    assert not_scored["reward"] is None
    assert "query_type" in not_scored["reward_reason"]
    raised = proxygold("score", "in.jsonl", "--reward", line, "--out", "no.jsonl", "on_error=raise", cwd=tmp_path)
    assert raised.returncode == 2
    assert raised.stderr.startswith("error: in.jsonl:2 cannot be scored: ")
    assert not (tmp_path / "no.jsonl").exists()


def test_parquet_and_compressed(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress((json.dumps(GOOD[0]) + "\n").encode()))
    to_parquet = proxygold("score", "in.jsonl.gz", "--reward", "LI * RP", "--out", "one.parquet", cwd=tmp_path)
    assert to_parquet.returncode == 0, to_parquet.stderr
    table = pq.read_table(tmp_path / "one.parquet")
    assert table.column_names == ["prompt", "completion", "source", "reward", "reward_parts", "reward_reason"]
    assert table["reward"].to_pylist() == [0.1]
    assert dict(table["reward_parts"].to_pylist()[0]) == {"LI": 0.1, "RP": 1.0, "LI * RP": 0.1}
    # Scored once more, under another name.
    again = proxygold(
        "score", "one.parquet", "--reward", "RP", "--out", "two.parquet", "--name", "second", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    both = pq.read_table(tmp_path / "two.parquet")
    assert both["reward_parts"] == table["reward_parts"]
    assert both["second"].to_pylist() == [1.0]
    taken = proxygold("score", "one.parquet", "--reward", "RP", "--out", "three.parquet", cwd=tmp_path)
    assert taken.returncode == 2
    assert "has a field 'reward' already" in taken.stderr


def test_settings_reach_the_reward(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [{"prompt": "x", "completion": "one two ### Response: three"}])
    for number, (settings, words) in enumerate({(): 6, ("template=alpaca",): 2, ("stop_strings=['two']",): 1}.items()):
        result = score_lengths(tmp_path, f"{number}.jsonl", *settings)
        assert result.returncode == 0, result.stderr
        assert read(tmp_path / f"{number}.jsonl")[0]["reward"] == words / 100


@pytest.mark.slow
def test_the_encoder_and_its_settings(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [{"prompt": "Where is Oslo?", "completion": "Where is Oslo?"}])
    command = ("score", "in.jsonl", "--reward", "QR", "--encoder", "all-minilm-l6-v2")
    assert proxygold(*command, "--out", "cosine.jsonl", cwd=tmp_path).returncode == 0
    dot = proxygold(*command, "--out", "dot.jsonl", "encoder.normalize=false", cwd=tmp_path)
    assert (dot.returncode, dot.stderr) == (0, "")
    assert read(tmp_path / "cosine.jsonl")[0]["reward"] == pytest.approx(1)
    assert read(tmp_path / "dot.jsonl")[0]["reward"] > 10


def test_match_is_measured_on_a_file(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    line = "match(RP, LI)"
    refused = proxygold("score", "in.jsonl", "--reward", line, "--out", "out.jsonl", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--calibrate FILE" in refused.stderr
    start = [{"prompt": "x", "completion": " ".join(str(word) for word in range(3 + n))} for n in range(30)]
    write(tmp_path / "start.jsonl", start)
    result = proxygold(
        "score", "in.jsonl", "--reward", line, "--out", "out.jsonl", "--calibrate", "start.jsonl", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "scored by rescale(RP, 0.0, 1.0, 0.0, 0." in result.stdout  # the line with the numbers that were measured


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.jsonl", "--reward", "LY * RP"], "unknown name 'LY'"),
        (["in.jsonl", "--reward", "LI *"], "error: "),
        (["in.jsonl", "--reward", "AR"], "needs reference"),
        (["in.jsonl", "--reward", "LI", "encoder.normalise=false"], "Did you mean encoder.normalize?"),
        (["in.jsonl", "--reward", "LI", "colour=red"], "unknown setting 'colour'"),
        (["in.jsonl", "--reward", "LI", "encoder.normalize"], "is not a setting. Write key=value"),
        (["in.jsonl", "--reward", "LI", "encoder.max_length=many"], "encoder.max_length='many' is not allowed"),
        (["in.jsonl", "--reward", "LI", "on_error=ignore"], "on_error='ignore' is not allowed"),
        (["in.jsonl", "--reward", "LI", "template=alpacca"], "Did you mean 'alpaca'?"),
        (["in.jsonl", "--reward", "LI", "on_error=nan", "on_error=raise"], "on_error is given twice"),
        (["in.jsonl", "--reward", "QR", "--encoder", "./nothing"], "is not a directory"),
        (["gone.jsonl", "--reward", "LI"], "there is no file gone.jsonl"),
        (["empty.jsonl", "--reward", "LI"], "empty.jsonl is empty"),
        (["bad.jsonl", "--reward", "LI"], "none of the 2 rows of bad.jsonl can be used"),
        (["in.csv", "--reward", "LI"], "Allowed: .jsonl"),
        (["*.csv", "--reward", "LI"], "the pattern *.csv fits no file"),
        (["nothing", "--reward", "LI"], "there is no file or directory nothing"),
        (["in.jsonl", "in.jsonl", "--reward", "LI"], "in.jsonl is meant twice"),
        (["in.jsonl", "--reward", "LI", "--workers", "0"], "0 workers are not allowed; give 1 or more"),
        (["in.jsonl", "--reward", "LI", "--workers", "0", "--engine", "ray"], "0 workers are not allowed"),
        (["hub:./nothing", "--reward", "LI"], "hub:./nothing cannot be had: "),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(tmp_path: Path, arguments: list[str], message: str) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    write(tmp_path / "bad.jsonl", ["oops", {"completion": "no prompt"}])
    (tmp_path / "empty.jsonl").touch()
    before = sorted(tmp_path.iterdir())
    result = proxygold("score", *arguments, "--out", "out.jsonl", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_written_over_unless_asked(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "out.jsonl").write_text("precious")
    refused = score_lengths(tmp_path, "out.jsonl")
    assert refused.returncode == 2
    assert "out.jsonl exists already" in refused.stderr
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    itself = score_lengths(tmp_path, "in.jsonl", "--force")
    assert itself.returncode == 2
    assert read(tmp_path / "in.jsonl") == GOOD
    assert score_lengths(tmp_path, "out.jsonl", "--force").returncode == 0
    assert len(read(tmp_path / "out.jsonl")) == 2


def test_no_space_left(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [{"prompt": "x", "completion": "word " * 200}] * 500)
    (tmp_path / "out.jsonl").write_text("precious")

    result = score_lengths(tmp_path, "out.jsonl", "--force", file_limit=100_000)
    assert result.returncode == 2, result.stderr
    assert "cannot write out.jsonl" in result.stderr
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "file").write_text("")
    result = score_lengths(tmp_path, "file/out.jsonl")
    assert result.returncode == 2
    assert "cannot write file/out.jsonl" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "locked").mkdir(mode=0o500)
    result = score_lengths(tmp_path, "locked/out.jsonl")
    assert result.returncode == 2
    assert "cannot write locked/out.jsonl: Permission denied" in result.stderr


@pytest.mark.parametrize(("workers", "how"), [("1", signal.SIGINT), ("2", signal.SIGINT), ("2", signal.SIGKILL)])
def test_stopped_in_the_middle_it_goes_on(tmp_path: Path, workers: str, how: signal.Signals) -> None:
    rows = [{"prompt": "x", "completion": f"{n} " + "word " * 60} for n in range(25_000)]
    write(tmp_path / "in.jsonl", [*rows, "{oops"])
    command = ["score", "in.jsonl", "--reward", "LI * RP", "--out", "out.jsonl", "--workers", workers]
    process = subprocess.Popen(
        [str(PROXYGOLD), *command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A suite that was started in the background ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = tmp_path / "out.jsonl.partial" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # a terminal sends it to all
    else:
        process.send_signal(how)  # the workers have to notice
    _, stderr = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130, stderr
        assert stderr == "\nstopped by Ctrl-C. What is written stays: the same command goes on from there.\n"
    deadline = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):  # nobody of its group is left
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    assert not (tmp_path / "out.jsonl").exists()
    again = proxygold(*command, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    done = re.match(r"wrote out.jsonl: 25,000 rows \(([\d,]+) of them by a run before\), 25,000 scored", again.stdout)
    assert done is not None, again.stdout
    assert 2048 <= int(done[1].replace(",", "")) < 25_000
    assert proxygold(*command[:4], "--out", "at-once.jsonl", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "at-once.jsonl").read_bytes()
    assert len(list(tmp_path.iterdir())) == 5  # the data, two results, and a list of rejected rows for each


def test_a_run_that_another_one_left_is_not_gone_on_with(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [{"prompt": "x", "completion": "word " * 20}] * 3000)
    # A row becomes 172 bytes: 2,048 of them go on this disk, 3,000 do not.
    full = score_lengths(tmp_path, "out.jsonl", file_limit=450_000)
    assert full.returncode == 2
    assert "cannot write out.jsonl: File too large" in full.stderr
    assert "run the same command again: what is done is kept" in full.stderr
    other = proxygold("score", "in.jsonl", "--reward", "RP", "--out", "out.jsonl", cwd=tmp_path)
    assert other.returncode == 2
    assert other.stderr == (
        "error: out.jsonl.partial holds what a run that was stopped has done, and this is not the same: "
        "the reward was LI, is RP.\n"
        "Give that command again to go on with it. To begin anew, add --force, or remove that directory.\n"
    )
    assert "(2,048 of them by a run before)" in score_lengths(tmp_path, "out.jsonl").stdout


def test_many_sources_become_one_file(tmp_path: Path) -> None:
    (tmp_path / "data" / "date=1").mkdir(parents=True)
    write(tmp_path / "data" / "a.jsonl", [GOOD[0], {"completion": "b"}])
    packed = gzip.compress((json.dumps(GOOD[1]) + "\n").encode())
    (tmp_path / "data" / "date=1" / "part-1.jsonl.gz").write_bytes(packed)
    (tmp_path / "data" / "date=1" / "part-2.jsonl.zst").write_bytes(zstandard.compress(b"[1]\n"))
    for given in (["data"], ["data/a.jsonl", "data/date=1"], ["data/a.jsonl", "data/date=1/part-*"]):
        result = proxygold(
            *("score", *given, "max_new_tokens=10", "--reward", "LI", "--out", "out.jsonl.zst", "--force"), cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[2:] == [
            "  data/a.jsonl:2: the field prompt is missing; the row has completion",
            "  data/date=1/part-2.jsonl.zst:1: a JSON list, not an object of fields",
        ]
        content = zstandard.ZstdDecompressor().stream_reader((tmp_path / "out.jsonl.zst").read_bytes()).read()
        assert [json.loads(line)["reward"] for line in content.splitlines()] == [0.1, 0.08]
        listed = read(tmp_path / "out.jsonl.zst.rejected.jsonl")
        assert [(row["file"], row["line"]) for row in listed] == [
            ("data/a.jsonl", 2),
            ("data/date=1/part-2.jsonl.zst", 1),
        ]
    nothing = proxygold("score", "max_new_tokens=10", "--reward", "LI", "--out", "x.jsonl", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "there is no data to score. Give a file, a directory" in nothing.stderr


def test_places_without_a_score_name_their_file_when_there_are_several(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", [{**GOOD[0], "query_type": None}])
    line = "branch(open_ended = LI, closed_ended = RP)"
    result = proxygold("score", "a.jsonl", "b.jsonl", "--reward", line, "--out", "out.jsonl", cwd=tmp_path)
    assert "2 rows without a score (a.jsonl:1, b.jsonl:1):" in result.stdout


def test_a_long_file_needs_no_more_memory(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        """The most memory (KiB) that scoring this many rows took."""
        write(tmp_path / "in.jsonl", [{"prompt": "x", "completion": f"{n} " + "word " * 60} for n in range(rows)])
        code = (
            "import re, sys; sys.argv = ['proxygold', 'score', 'in.jsonl', '--reward', 'LI * RP', "
            f"'--out', 'out-{rows}.jsonl']\n"
            "from proxygold.cli.main import main\n"
            "try: main()\n"
            "except SystemExit as done: assert done.code == 0\n"
            # Not ru_maxrss, which a child inherits from the process that started it.
            "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return int(result.stdout.splitlines()[-1])

    few, many = peak(5_000), peak(40_000)
    # 35,000 more rows are 11 MB of text, and several times that as Python objects.
    assert many < few + 8_000
