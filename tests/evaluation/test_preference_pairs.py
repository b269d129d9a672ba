"""Pairs from files: RewardBench's rows and others, references of their own, and what must not leak."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from proxygold.errors import DataError
from proxygold.evaluation.reward_bench.preference_pairs import PairSet, TestPair, read_pairs


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def pair(**fields: object) -> dict[str, object]:
    return {"prompt": "Name a river.", "chosen": "The Nile.", "rejected": "No.", **fields}


def read(tmp_path: Path, *rows: object, references: Path | None = None, limit: int | None = None) -> PairSet:
    return read_pairs([write(tmp_path / "pairs.jsonl", *rows)], references, limit)


def only(found: PairSet) -> TestPair:
    [one] = found.pairs
    assert not found.rejected
    return one


def test_a_row_of_rewardbench(tmp_path: Path) -> None:
    row = pair(id=31, subset="mt-bench-easy", chosen_model="gpt-4", rejected_model="vicuna")
    one = only(read(tmp_path, row))
    assert (one.id, one.prompt, one.subset) == ("31", "Name a river.", "mt-bench-easy")
    assert (one.chosen, one.rejected, one.reference, one.query_type) == ("The Nile.", "No.", None, None)
    # A feature sees neither answer beside the one that it scores.
    assert one.columns == {"subset": "mt-bench-easy", "chosen_model": "gpt-4", "rejected_model": "vicuna"}
    better, worse = one.examples()
    assert (better.completion, worse.completion) == ("The Nile.", "No.")
    assert better.columns is worse.columns


def test_answers_as_messages_and_whole_conversations(tmp_path: Path) -> None:
    user, good, bad = (
        {"role": role, "content": text}
        for role, text in (("user", "Hi"), *[("assistant", t) for t in ("Hello!", "What?")])
    )
    one = only(read(tmp_path, pair(prompt=[user], chosen=[good], rejected=[bad])))
    assert (one.prompt, one.chosen, one.rejected) == ([user], "Hello!", "What?")
    # The prompt is in the conversations, as a text beside them it is not needed.
    one = only(read(tmp_path, {"prompt": "Hi", "chosen": [user, good], "rejected": [user, bad], "id": "7"}))
    assert (one.id, one.prompt, one.chosen, one.rejected) == ("7", [user], "Hello!", "What?")
    one = only(
        read(tmp_path, {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: No."})
    )
    assert (one.prompt, one.chosen, one.subset) == ([user], "Hello!", f"{tmp_path.name}/pairs")


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    assert only(read(tmp_path, pair(rejected=""))).rejected == ""


def test_bad_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        pair(id="good"),
        "{oops",
        {"prompt": "x", "chosen": "y"},
        pair(rejected=" The Nile. "),
        pair(chosen=3),
        pair(query_type="maybe"),
        pair(id="good too"),
    )
    assert [one.id for one in found.pairs] == ["good", "good too"]
    assert [row.line for row in found.rejected] == [2, 3, 4, 5, 6]
    reasons = [row.reason for row in found.rejected]
    assert reasons[0].startswith("not JSON")
    assert reasons[1] == "rejected is missing; the row has: prompt, chosen"
    assert reasons[2] == "chosen and rejected are the same text, so nothing is preferred"
    assert reasons[3].startswith("chosen is no text and no one message")
    assert reasons[4].startswith("query_type is str 'maybe'; allowed: open_ended")
    with pytest.raises(
        DataError, match=re.escape("A pair has prompt, chosen and rejected. The first row that is none")
    ):
        read(tmp_path, "{oops")


def test_ids_are_unique_and_rows_without_get_their_line(tmp_path: Path) -> None:
    found = read(tmp_path, pair(id=1), pair(), pair(id=1))
    first, second, third = (one.id for one in found.pairs)
    assert (first, second) == ("1", "line-2")
    assert third == f"1 at {tmp_path}/pairs.jsonl:3"
    assert len(read(tmp_path, pair(id=1), pair(), pair(), limit=2).pairs) == 2


def test_the_chosen_answer_is_never_the_reference(tmp_path: Path) -> None:
    one = only(read(tmp_path, pair(reference="the  NILE. ")))
    assert one.reference is None
    assert one.reference_refused == "the reference given is the chosen answer itself"
    one = only(read(tmp_path, pair(reference="The Amazon.")))
    assert (one.reference, one.reference_refused) == ("The Amazon.", None)
    # Nor does one from another file come in by the back door.
    given = write(tmp_path / "references.jsonl", {"prompt": "Name a river.", "reference": "The Nile."})
    assert only(read(tmp_path, pair(reference="The Amazon."), references=given)).reference is None


def test_references_of_a_file_by_id_and_by_prompt(tmp_path: Path) -> None:
    given = write(
        tmp_path / "references.jsonl",
        {"id": "b", "reference": "of b", "query_type": "CONSTRAINED"},
        {"prompt": [{"role": "user", "content": "Name a river."}], "reference": "of the prompt"},
        {"id": "a"},
        {"id": "b", "reference": "another"},
        {"reference": "of whom?"},
        {"id": "c", "query_type": "maybe"},
    )
    found = read(tmp_path, pair(id="a"), pair(id="b"), pair(id="c", prompt="Why?", reference="own"), references=given)
    assert [one.reference for one in found.pairs] == ["of the prompt", "of b", "own"]
    assert [one.query_type for one in found.pairs] == [None, "closed_ended", None]
    assert [(row.line, row.reason.split(";")[0]) for row in found.rejected] == [
        (3, "neither reference nor query_type"),
        (4, "another row before it is for the same id"),
        (5, "neither id nor prompt, so it cannot be told which pair it is for"),
        (6, "query_type is 'maybe'"),
    ]
    with pytest.raises(DataError, match="can be used. The first: "):
        read(tmp_path, pair(), references=write(tmp_path / "none.jsonl", {"id": "a"}))
