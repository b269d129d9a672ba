"""Rows with answers to learn: every form that is read, and what is said of the others."""

from __future__ import annotations

import gzip
import json

import pytest

from proxygold.data.demonstrations import Demonstration, parse_demonstration, read_demonstrations
from proxygold.data.files import RejectedRow
from proxygold.errors import DataError

USER, ANSWER = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello!"}
EXPECTED = Demonstration((USER,), "Hello!")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi.", "completion": "Hello!"},
        {"prompt": "Hi.", "reference": "Hello!", "query_type": "open_ended"},
        {"prompt": "Hi.", "chosen": "Hello!", "rejected": "Go away."},
        {"prompt": [USER], "completion": "Hello!"},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": []},
        {"messages": [USER, ANSWER]},
        {"prompt": "Hi.", "messages": [USER, ANSWER]},  # as in UltraFeedback: the prompt is in the messages
        {"chosen": [USER, ANSWER], "rejected": [USER]},
        {"chosen": "\n\nHuman: Hi.\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi.\n\nAssistant: No."},
    ],
)
def test_every_form(row):
    assert parse_demonstration(row) == EXPECTED


def test_a_conversation_keeps_its_turns():
    talk = [{"role": "system", "content": "Be kind."}, USER, ANSWER, {"role": "user", "content": "And now?"}]
    parsed = parse_demonstration({"messages": [*talk, {"role": "assistant", "content": " Bye. "}]})
    assert parsed == Demonstration(tuple(talk), " Bye. ")  # to the last space


def test_of_several_answers_one_must_be_chosen():
    row = {"prompt": "Hi.", "completion": "Hm.", "reference": "Hello!"}
    with pytest.raises(DataError, match=r"completion and reference could each be the answer.*--answers"):
        parse_demonstration(row)
    assert parse_demonstration(row, answers="reference") == EXPECTED
    with pytest.raises(DataError, match="missing or empty field 'chosen'; the row has prompt, completion, reference"):
        parse_demonstration(row, answers="chosen")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "Hi."}, "there is no answer: none of the fields completion, reference, chosen, messages"),
        ({}, "the row has nothing"),
        ({"completion": "Hello!"}, "there is completion but no prompt; the row has completion"),
        ({"prompt": "Hi.", "completion": " \n"}, "the answer is empty"),
        ({"prompt": "Hi.", "completion": 3}, "completion is int; a list of messages is needed"),
        ({"prompt": "Hi.", "completion": [USER]}, "completion does not end with the assistant's turn"),
        ({"prompt": "Hi.", "completion": [USER, ANSWER]}, "must be text or one assistant message, this has 2"),
        ({"prompt": 3, "completion": "Hello!"}, "prompt is int; a list of messages is needed"),
        ({"prompt": [USER, ANSWER], "completion": "Hello!"}, "there is no turn before the answer that it could answer"),
        ({"messages": [ANSWER]}, "there is no turn before the answer that it could answer"),
        ({"messages": [USER]}, "messages does not end with the assistant's turn"),
        ({"messages": [USER, {"role": "assistant"}]}, "message 2 of messages needs a role and text under content"),
        ({"messages": [USER, {"role": "bot", "content": "x"}]}, "the role of message 2 of messages is 'bot'; allowed:"),
        ({"messages": "Hi."}, "messages is str; a list of messages is needed"),
        ({"chosen": "Hi."}, "a dialogue must start with"),
    ],
)
def test_what_is_wrong_is_said(row, problem):
    with pytest.raises(DataError, match=problem.replace(".", r"\.")):
        parse_demonstration(row)


def test_files_are_read_in_order_and_bad_rows_have_their_place(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"prompt": "b", "completion": "B"}\n{"prompt": "b"}\nnot json\n')
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps({"prompt": f"a{n}", "completion": f"A{n}"}) + "\n" for n in range(3)))
    rows = list(read_demonstrations([tmp_path]))
    assert [row.answer for row in rows if isinstance(row, Demonstration)] == ["A0", "A1", "A2", "B"]
    assert rows[3].place == f"{tmp_path}/b.jsonl:1"
    bad = [row for row in rows if isinstance(row, RejectedRow)]
    assert [str(row).removeprefix(f"{tmp_path}/").split(": ")[0] for row in bad] == ["b.jsonl:2", "b.jsonl:3"]
    limited = list(read_demonstrations([tmp_path], limit=2))
    assert [row.answer for row in limited] == ["A0", "A1"]
    with pytest.raises(DataError, match="there is no file nowhere.jsonl"):
        list(read_demonstrations(["nowhere.jsonl"]))


def test_a_known_data_set_is_read_in_its_published_form(tmp_path):
    alpaca = tmp_path / "alpaca_data.json"
    alpaca.write_text(json.dumps([{"instruction": "Add.", "input": "1 and 2", "output": "3"}, {"output": "4"}]))
    good, bad = read_demonstrations([{"source": str(alpaca), "name": "alpaca"}])
    assert good.prompt == ({"role": "user", "content": "Add.\n\n### Input:\n1 and 2"},)
    assert good.answer == "3"
    assert "neither an instruction nor an input" in str(bad)
    [first, _] = read_demonstrations([alpaca])
    assert "It looks like one of alpaca" in str(first)
    assert "data='{source: …, name: alpaca" in str(first)

    talk = [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello!"}]
    longer = [*talk, {"from": "human", "value": "Bye."}, {"from": "gpt", "value": "Bye!"}]
    rows = [
        {"id": "a", "conversations": talk},
        {"id": "b", "conversations": talk},
        {"id": "c", "conversations": longer},
    ]
    sharegpt = tmp_path / "sharegpt.json"
    sharegpt.write_text(json.dumps(rows))
    read = list(read_demonstrations([{"source": str(sharegpt), "name": "sharegpt"}]))
    assert [row.answer for row in read] == ["Hello!", "Bye!"]  # the second is a copy of the first
    assert len(read[1].prompt) == 3


def test_columns_may_be_named_and_each_source_may_have_a_limit(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("".join(f'{{"q": "{name}{n}", "a": "x"}}\n' for n in range(3)))
    sources = [
        {"source": str(tmp_path / f"{name}.jsonl"), "fields": {"prompt": "q", "reference": "a"}, "limit": limit}
        for name, limit in (("a", 1), ("b", 2))
    ]
    assert [row.prompt[0]["content"] for row in read_demonstrations(sources)] == ["a0", "b0", "b1"]
    assert [row.prompt[0]["content"] for row in read_demonstrations(sources, limit=2)] == ["a0", "b0"]


def test_the_built_in_prompts_have_references_to_learn():
    train, test = (list(read_demonstrations(["builtin"], role=role)) for role in ("train", "dev"))
    assert all(isinstance(row, Demonstration) and row.answer for row in [*train, *test])
    assert train
    assert test
    assert {row.place for row in train}.isdisjoint(row.place for row in test)
