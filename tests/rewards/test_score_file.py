"""Scoring data in chunks: what a later chunk may hold, what survives a stop, and sources of several kinds."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold import reward
from proxygold.errors import DataError, StoreError
from proxygold.rewards import score_file as module
from proxygold.rewards.score_file import score_file

ROW = {"prompt": "x", "completion": "one two"}


@pytest.fixture(autouse=True)
def _chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("field", ["reward", "reward_parts", "reward_reason"])
@pytest.mark.parametrize("format_name", ["jsonl", "parquet"])
def test_a_later_row_with_a_reward_of_its_own_is_left_out_and_listed(
    tmp_path: Path, field: str, format_name: str
) -> None:
    source = write(tmp_path / "in.jsonl", ROW, ROW, ROW, {**ROW, field: 9.0}, ROW)
    summary = score_file(source, tmp_path / f"out.{format_name}", reward("LI"))
    assert (summary.scored, summary.rejected) == (4, 1)
    listed = json.loads(summary.rejected_file.read_text())
    assert listed["line"] == 4
    assert listed["reason"] == (
        f"has a field '{field}' already. Give the new ones another name, such as --name reward_2"
    )


def test_a_reward_of_its_own_in_the_first_rows_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROW, {**ROW, "reward": 9.0})
    with pytest.raises(DataError, match=r"in\.jsonl has a field 'reward' already\. Give .* --name reward_2\."):
        score_file(source, tmp_path / "out.jsonl", reward("LI"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_when_no_first_row_can_be_used_the_next_ones_are_the_first(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {}, {}, {**ROW, "reward": 9.0})
    with pytest.raises(DataError, match="has a field 'reward' already"):
        score_file(source, tmp_path / "out.jsonl", reward("LI"))


@pytest.mark.parametrize("before", [0, 3])
def test_a_whole_number_that_parquet_cannot_hold_names_its_field_and_line(tmp_path: Path, before: int) -> None:
    source = write(tmp_path / "in.jsonl", *[{**ROW, "id": 1}] * before, {"bad": 1}, {**ROW, "id": 2**70})
    with pytest.raises(DataError, match=f"the field 'id' at line {before + 2} of the data holds a whole number"):
        score_file(source, tmp_path / "out.parquet", reward("LI"))
    score_file(source, tmp_path / "out.jsonl", reward("LI"))
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[-1])["id"] == 2**70


# --- stopped, and going on --------------------------------------------------------------------------------------------


class Stop(KeyboardInterrupt):
    """What Ctrl-C raises."""


def stop_after(rows: int) -> Callable[[int], None]:
    """An `advance` that is interrupted once so many rows are done."""
    done = [0]

    def advance(more: int) -> None:
        done[0] += more
        if done[0] >= rows:
            raise Stop

    return advance


def numbered(count: int, start: int = 0) -> list[dict[str, Any]]:
    # A word a row more, and the fourth is no row.
    return [{} if n == 3 else {"prompt": "x", "completion": "word " * n, "n": n} for n in range(start, start + count)]


def three_files(directory: Path) -> Path:
    directory.mkdir()
    for place, name in enumerate(("a.jsonl", "b.jsonl", "c.jsonl")):
        write(directory / name, *numbered(4, 4 * place))
    return directory


@pytest.mark.parametrize("format_name", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_it_goes_on_wherever_it_was_stopped(tmp_path: Path, format_name: str) -> None:
    data = three_files(tmp_path / "data")
    whole = score_file(data, tmp_path / f"whole.{format_name}", reward("LI * RP"))
    assert (whole.scored, whole.rejected, whole.resumed) == (11, 1, 0)
    for rows in (2, 4, 7, 12):
        target = tmp_path / f"{rows}.{format_name}"
        with pytest.raises(Stop):
            score_file(data, target, reward("LI * RP"), advance=stop_after(rows))
        assert not target.exists()
        told: list[int] = []
        summary = score_file(data, target, reward("LI * RP"), advance=told.append)
        assert target.read_bytes() == whole.written.read_bytes()
        assert summary.rejected_file.read_bytes() == whole.rejected_file.read_bytes()
        assert (summary.scored, summary.rejected, sum(told)) == (11, 1, 12)
        assert summary.resumed >= rows - 1  # of the first four, one was rejected
        assert summary.first_rejected == whole.first_rejected
        assert not target.with_name(target.name + ".partial").exists()


def test_reasons_and_places_of_what_was_done_before_are_told_again(tmp_path: Path) -> None:
    rows = [
        {**ROW, "query_type": "open_ended"},
        {**ROW, "query_type": None},
        *[{**ROW, "query_type": "open_ended"}] * 3,
    ]
    source = write(tmp_path / "in.jsonl", *rows)
    branch = reward("branch(open_ended = LI, closed_ended = RP)")
    with pytest.raises(Stop):
        score_file(source, tmp_path / "out.jsonl", branch, advance=stop_after(2))
    summary = score_file(source, tmp_path / "out.jsonl", branch)
    assert (summary.scored, summary.not_scored, summary.first_not_scored) == (4, 1, [(str(source), 2)])
    assert list(summary.reasons.values()) == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": "LI"}, r"the reward was LI \* RP, is LI\.\n"),
        ({"name": "other"}, "the name of the added fields was reward, is other"),
        ({"stop_strings": ["x"]}, r"the encoder, its settings, the stop strings or a feature of LI \* RP changed"),
        ({"touch": "a.jsonl"}, r"data/a\.jsonl has changed since"),
        ({"touch": "b.jsonl"}, r"data/b\.jsonl has changed since"),
        ({"add": "_0.jsonl"}, None),  # hidden: no data
        ({"add": "0.jsonl"}, r"the data was .*data/a\.jsonl where it is .*data/0\.jsonl"),
        ({"remove": "a.jsonl"}, r"the data was .*data/a\.jsonl where it is .*data/b\.jsonl"),
        ({"touch": "c.jsonl"}, None),  # not begun yet
        ({"add": "d.jsonl"}, None),
        ({"remove": "c.jsonl"}, None),
        ({"manifest": "{"}, r"its manifest\.json is damaged"),
    ],
)
def test_only_the_same_goes_on(tmp_path: Path, change: dict[str, Any], message: str | None) -> None:
    data = three_files(tmp_path / "data")
    target = tmp_path / "out.jsonl"
    with pytest.raises(Stop):
        score_file(data, target, reward("LI * RP"), advance=stop_after(6))  # a, and half of b
    if "touch" in change:
        write(data / change["touch"], *numbered(5, 20))
    if "add" in change:
        write(data / change["add"], *numbered(2, 30))
    if "remove" in change:
        (data / change["remove"]).unlink()
    if "manifest" in change:
        (tmp_path / "out.jsonl.partial" / "manifest.json").write_text(change["manifest"])
    line = reward(change.get("reward", "LI * RP"), stop_strings=change.get("stop_strings"))
    name = change.get("name", "reward")
    if message is not None:
        with pytest.raises(StoreError, match=message) as caught:
            score_file(data, target, line, name=name)
        assert "add --force, or remove that directory" in str(caught.value)
        assert not target.exists()
    # Asked to, it begins anew; where it may go on, it does.
    summary = score_file(data, target, line, name=name, overwrite=message is not None)
    assert summary.resumed == (0 if message is not None else 5)
    fresh = score_file(data, tmp_path / "fresh.jsonl", line, name=name)
    assert target.read_bytes() == fresh.written.read_bytes()


def test_force_goes_on_too_when_it_is_the_same(tmp_path: Path) -> None:
    data = three_files(tmp_path / "data")
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(Stop):
        score_file(data, tmp_path / "out.jsonl", reward("LI"), overwrite=True, advance=stop_after(6))
    assert (tmp_path / "out.jsonl").read_text() == "old"
    with pytest.raises(StoreError, match="exists already"):
        score_file(data, tmp_path / "out.jsonl", reward("LI"))
    assert score_file(data, tmp_path / "out.jsonl", reward("LI"), overwrite=True).resumed == 5


def test_a_file_that_cannot_be_read_can_be_mended_and_the_ones_before_it_stay(tmp_path: Path) -> None:
    data = three_files(tmp_path / "data")
    good = gzip.compress("".join(json.dumps(row) + "\n" for row in numbered(400, 4)).encode())
    (data / "b.jsonl").unlink()
    (data / "b.jsonl.gz").write_bytes(good[:-400])
    for _ in range(2):  # as often as it is tried
        with pytest.raises(DataError, match=r"cannot read .*b\.jsonl\.gz(.|\n)*files before it is kept"):
            score_file(data, tmp_path / "out.jsonl", reward("LI"))
    (data / "b.jsonl.gz").write_bytes(good)
    assert score_file(data, tmp_path / "out.jsonl", reward("LI")).resumed == 3  # all of a
    assert [row["n"] for row in read(tmp_path / "out.jsonl")] == [0, 1, 2, *range(4, 404), *range(8, 12)]


def test_the_first_file_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    content = "".join(json.dumps(row) + "\n" for row in numbered(400)).encode()
    (tmp_path / "data" / "a.jsonl.gz").write_bytes(gzip.compress(content)[:-400])
    with pytest.raises(DataError, match="cannot read"):
        score_file(tmp_path / "data", tmp_path / "out.jsonl", reward("LI"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_row_that_stops_a_strict_run_can_be_mended(tmp_path: Path) -> None:
    data = three_files(tmp_path / "data")
    bad = [{**row, "query_type": "open_ended"} for row in numbered(4, 4)]
    for name in ("a.jsonl", "c.jsonl"):
        write(data / name, *bad)
    write(data / "b.jsonl", *bad[:3], {**bad[3], "query_type": None})
    strict = reward("branch(open_ended = LI, closed_ended = RP)", on_error="raise")
    with pytest.raises(DataError, match=r"b\.jsonl:4 cannot be scored: (.|\n)*is kept: the same command goes on"):
        score_file(data, tmp_path / "out.jsonl", strict)
    write(data / "b.jsonl", *bad)
    assert score_file(data, tmp_path / "out.jsonl", strict).resumed == 4


# --- several sources --------------------------------------------------------------------------------------------------


def test_sources_of_different_kinds_become_one_table(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"prompt": ["x"], "completion": ["a"], "n": pa.array([1], pa.int32())}), tmp_path / "a.parquet"
    )
    pq.write_table(pa.table({"prompt": ["x"], "completion": ["a b"], "extra": [0.5]}), tmp_path / "b.parquet")
    write(tmp_path / "c.jsonl", {"prompt": "x", "completion": "a b c", "n": 2**40})
    files = [tmp_path / name for name in ("c.jsonl", "a.parquet", "b.parquet")]
    score_file(files, tmp_path / "out.parquet", reward("LI"))
    table = pq.read_table(tmp_path / "out.parquet").drop_columns(["reward_parts", "prompt"])
    assert table.to_pylist() == [
        {"completion": "a b c", "n": 2**40, "extra": None, "reward": 0.03, "reward_reason": None},
        {"completion": "a", "n": 1, "extra": None, "reward": 0.01, "reward_reason": None},
        {"completion": "a b", "n": None, "extra": 0.5, "reward": 0.02, "reward_reason": None},
    ]
    pq.write_table(pa.table({"prompt": ["x"], "completion": ["a"], "n": ["text"]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"different types(.|\n)*Write \.jsonl instead"):
        score_file([*files, tmp_path / "d.parquet"], tmp_path / "no.parquet", reward("LI"))


def test_empty_files_among_others_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.jsonl", "c.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="the 2 files are all empty"):
        score_file([tmp_path / "a.jsonl", tmp_path / "c.jsonl"], tmp_path / "out.jsonl", reward("LI"))
    write(tmp_path / "b.jsonl", ROW)
    assert score_file([tmp_path / f"{n}.jsonl" for n in "abc"], tmp_path / "out.jsonl", reward("LI")).scored == 1


def test_the_target_is_not_among_the_data(tmp_path: Path) -> None:
    data = three_files(tmp_path / "data")
    score_file(data, data / "out.jsonl", reward("LI"))
    with pytest.raises(StoreError, match="is among the data itself"):
        score_file(data, data / "out.jsonl", reward("LI"), overwrite=True)
