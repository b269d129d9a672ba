"""Sources: what is meant by what was typed, in which order, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxygold.data.files import Row, parse_rows
from proxygold.data.sources import UnusableSource, find_sources, read_chunks
from proxygold.errors import DataError

FILES = [
    "a.jsonl",
    "b.jsonl.gz",
    "deep/x/c.parquet",
    "deep/a.ndjson",
    "z.jsonl.zst",
    # No data:
    "README.md",
    ".hidden.jsonl",
    "_SUCCESS.jsonl",
    ".cache/d.jsonl",
    "_tmp/e.jsonl",
    "out.jsonl.rejected.jsonl",
    "out.jsonl.partial/rejected.jsonl",
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in FILES:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str) -> list[str]:
    return [source.name for source in find_sources(given)]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["data"], ["a.jsonl", "b.jsonl.gz", "z.jsonl.zst", "deep/a.ndjson", "deep/x/c.parquet"]),
        (["data/deep", "data/a.jsonl"], ["deep/a.ndjson", "deep/x/c.parquet", "a.jsonl"]),
        (["data/*.jsonl*"], ["a.jsonl", "b.jsonl.gz", "z.jsonl.zst"]),
        (["data/d*"], ["deep/a.ndjson", "deep/x/c.parquet"]),
        (["data/**/[ac].*"], ["a.jsonl", "deep/a.ndjson", "deep/x/c.parquet"]),
        (["data/.hidden.jsonl"], [".hidden.jsonl"]),  # by its name it is meant
    ],
)
def test_what_is_meant(data: Path, given: list[str], meant: list[str]) -> None:
    assert names(*given) == [f"data/{name}" for name in meant]


def test_a_name_that_looks_like_a_pattern_is_the_file(data: Path) -> None:
    (data / "part[1].jsonl").touch()
    assert names("part[1].jsonl") == ["part[1].jsonl"]


def test_links_are_followed_and_do_not_go_round(data: Path) -> None:
    (data / "elsewhere").mkdir()
    (data / "elsewhere" / "e.jsonl").touch()
    (data / "data" / "link").symlink_to(data / "elsewhere")
    (data / "data" / "deep" / "up").symlink_to(data / "data")
    assert names("data")[-1] == "data/link/e.jsonl"
    assert len(names("data")) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["gone.jsonl"], r"there is no file gone\.jsonl\. Give a file, a directory"),
        (["gone"], "there is no file or directory gone"),
        (["data/README.md"], r"no format that is known by its name\. Allowed: \.jsonl"),
        (["data/*.csv"], r"the pattern data/\*\.csv fits no file\."),
        (["data/*.md"], r"the pattern data/\*\.md fits no data file, only such as data/README\.md"),
        (["data/_tmp/../.cache", "data/a.jsonl", "data"], r"data/a\.jsonl is meant twice"),
        (["empty"], "the directory empty has no data file in it or below it. Data files end in"),
        (["hub:"], "hub: is no data set. Write hub:NAME, hub:NAME:SPLIT or"),
        (["hub:a:b:c:d"], "is no data set"),
        (["hf://datasets/a/b"], "no format that is known by its name"),
    ],
)
def test_what_is_refused(data: Path, given: list[str], message: str) -> None:
    (data / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        find_sources(given)


def write(path: Path, *numbers: int) -> str:
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in numbers))
    return str(path)


def test_chunks_go_over_the_ends_of_sources_and_on_from_any_place(tmp_path: Path) -> None:
    sources = find_sources(
        [
            write(tmp_path / "a.jsonl", 0, 1, 2, 3, 4),
            write(tmp_path / "b.jsonl"),
            write(tmp_path / "c.jsonl", 5),
            write(tmp_path / "d.jsonl", 6, 7, 8),
        ]
    )
    # Pieces of at most 3 rows: 0-2 fill a chunk; 3-4 and 5 do; 6-8 do.
    chunks = list(read_chunks(sources, (0, 0), 3))
    assert [(len(chunk), chunk.end) for chunk in chunks] == [(3, (0, 3)), (3, (2, 1)), (3, (3, 3))]
    for done in range(len(chunks) + 1):
        start = chunks[done - 1].end if done else (0, 0)
        rest = [row for chunk in read_chunks(sources, start, 3) for raw in chunk.pieces for row in parse_rows(raw)]
        assert [row.values["n"] for row in rest if isinstance(row, Row)] == list(range(3 * done, 9))


def test_what_comes_before_a_source_that_cannot_be_read_is_given_out(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_text("no parquet")
    chunks = read_chunks(find_sources([write(tmp_path / "a.jsonl", 0), str(tmp_path / "b.parquet")]), (0, 0), 3)
    assert next(chunks).end == (0, 1)
    with pytest.raises(UnusableSource, match=r"cannot read .*b\.parquet") as caught:
        next(chunks)
    assert caught.value.number == 1


def test_a_data_set_in_the_form_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{"prompt": "x", "completion": f"{n}"} for n in range(5)]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "train.parquet")
    [source] = find_sources([f"hub:{tmp_path}/set"])
    assert (source.count(), source.fingerprint().startswith("5 rows, ")) == (5, True)
    schema = source.schema()
    assert schema is not None
    assert schema.names == ["prompt", "completion"]
    raws = list(source.read(2, 2))
    assert [row for raw in raws for row in parse_rows(raw)] == [Row(n + 1, rows[n]) for n in (2, 3, 4)]
    # A second split has to be chosen from.
    pq.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "set" / "test.parquet")
    with pytest.raises(DataError, match=r"has several splits\. Choose one: .*/set:train, .*/set:test\."):
        find_sources([f"hub:{tmp_path}/set"])
    [chosen] = find_sources([f"hub:{tmp_path}/set:test"])
    assert chosen.count() == 1
    [none] = find_sources([f"hub:{tmp_path}/set:validation"])
    with pytest.raises(DataError, match=r"cannot be had: Unknown split \"validation\".*\nCheck the name, the split"):
        none.count()
