"""Preference pairs from JSON lines: both forms, and every way a row can be wrong."""

import gzip
import json
from pathlib import Path

import pytest

from proxygold.data.files import RejectedRow
from proxygold.data.preferences import PreferencePair, parse_preference, read_preferences
from proxygold.errors import DataError

SHARED = Path(__file__).parents[2] / "../shared/data"


def write(path, *rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def test_prompt_and_answers_as_text():
    pair = parse_preference({"prompt": "Name a colour.", "chosen": "Green.", "rejected": "No.", "source": "ours"})
    assert pair == PreferencePair((user("Name a colour."),), "Green.", "No.", "ours")


def test_prompt_and_answers_as_messages():
    pair = parse_preference(
        {
            "prompt": [{"role": "system", "content": "Be brief."}, user("Name a colour.")],
            "chosen": [assistant("Green.")],
            "rejected": [assistant("No.")],
        },
        source="file.jsonl",
    )
    assert pair.prompt == ({"role": "system", "content": "Be brief."}, user("Name a colour."))
    assert (pair.chosen, pair.rejected, pair.source) == ("Green.", "No.", "file.jsonl")


def test_two_whole_conversations_share_their_prompt():
    pair = parse_preference({"chosen": [user("Hi"), assistant("Hello!")], "rejected": [user("Hi"), assistant("What?")]})
    assert pair == PreferencePair((user("Hi"),), "Hello!", "What?")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "chosen": "b"}, "missing or empty field 'rejected'; the row has: prompt, chosen"),
        ({"prompt": "a", "chosen": "", "rejected": "c"}, "missing or empty field 'chosen'"),
        ({"prompt": "a", "chosen": " b", "rejected": "b "}, "the same text"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "an answer is empty"),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "'prompt' must be text or a list of messages, this is a number"),
        ({"prompt": [{"role": "me", "content": "a"}], "chosen": "b", "rejected": "c"}, "role 'me'; allowed: system, user"),
        ({"prompt": [{"role": "user"}], "chosen": "b", "rejected": "c"}, "every message of 'prompt' needs text"),
        ({"prompt": "a", "chosen": [user("b")], "rejected": "c"}, "text or one assistant message"),
        ({"chosen": [user("a"), assistant("b")], "rejected": [user("z"), assistant("c")]}, "share every message but the last"),
        ({"chosen": [assistant("b")], "rejected": [assistant("c")]}, "share every message but the last"),
        ({"chosen": "b", "rejected": {"a": 1}}, "'rejected' must be text, this is an object"),
        ({"chosen": "b", "rejected": "c"}, "a dialogue must start with"),
    ],
)  # fmt: skip
def test_a_wrong_row_says_what_is_wrong(row, message):
    with pytest.raises(DataError) as caught:
        parse_preference(row)
    assert message in str(caught.value)


def test_bad_rows_come_with_their_line_and_good_rows_still_come(tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path.write_bytes(
        json.dumps(good).encode() + b"\n\n{oops\n\xff\xfe\n" + b'{"prompt": "a"}\n' + json.dumps(good).encode()
    )
    pairs = list(read_preferences(path))
    expected = PreferencePair((user("a"),), "b", "c", "pairs.jsonl")
    assert pairs[0] == pairs[-1] == expected
    assert (pairs[0].place, pairs[-1].place) == (f"{path}:1", f"{path}:6")
    rejected = pairs[1:-1]
    assert all(isinstance(row, RejectedRow) for row in rejected)
    # Line 2 is blank, which is no row at all.
    assert [row.line for row in rejected] == [3, 4, 5]
    assert str(rejected[0]).startswith(f"{path}:3: not JSON: ")
    assert str(rejected[1]) == f"{path}:4: not UTF-8 at byte 0 of the line"
    assert "missing or empty field 'chosen'" in str(rejected[2])


def test_compressed_files_are_unpacked(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}))
    assert [pair.chosen for pair in read_preferences(path)] == ["b"]


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere.jsonl"):
        list(read_preferences(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match="is empty"):
        list(read_preferences(write(tmp_path / "empty.jsonl", "\n")))
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(json.dumps({"prompt": "a"}).encode() * 9)[:-12])
    with pytest.raises(DataError, match=r"cannot read .*torn.jsonl.gz"):
        list(read_preferences(torn))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not at ../shared/data")
def test_the_published_files_are_read():
    rows = list(read_preferences(SHARED / "preferences/xstest_pairs.jsonl.gz"))
    pairs = [row for row in rows if isinstance(row, PreferencePair)]
    assert len(rows) == 976
    assert len(pairs) > 950
