"""Judges: what is asked, what is written down, and what is not asked again. The endpoint is a real server on loopback."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from proxygold.cli.evals.judging import judge_from_options, judge_if_asked
from proxygold.errors import ConfigError, StoreError
from proxygold.evaluation.judges.judging import (
    DryJudge,
    EndpointJudge,
    Question,
    Verdict,
    failures,
    missing_bounds,
    open_judge,
)
from proxygold.llm import LLM, LLMSettings
from proxygold.records import Message

Start = Callable[[Callable[[str, int], Any]], Any]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@contextmanager
def judging(server: Any, **changes: Any) -> Iterator[EndpointJudge]:
    settings: dict[str, Any] = {"model": "tester", "base_url": server.url, "first_delay": 0.01, "timeout": 60.0}
    with LLM(LLMSettings(**{**settings, **changes})) as llm:
        yield EndpointJudge(llm)


def questions(*texts: str, repeat: int = 0) -> list[Question]:
    """One each, with the id `text/repeat`."""
    return [Question(f"{text}/{repeat}", [Message(role="user", content=text)], repeat) for text in texts]


def number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("it is no number")
    return int(text)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def length(chat: Any) -> Callable[[str, int], Any]:
    """A server's answer: how many letters the question has."""
    return lambda text, _: chat.completion(str(len(text)))


def test_verdicts_come_in_order_and_are_written_as_they_come(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    file = tmp_path / "new" / "verdicts.jsonl"
    written: list[int] = []
    with judging(server, parameters={"temperature": 0}, concurrency=1, price_in=2.0, price_out=10.0) as judge:
        verdicts = judge.ask(
            questions("aaa", "b", "cc"), number, file, progress=lambda done: written.append(len(lines(file)))
        )
        assert judge.name == "tester"
        # Three calls of 100 tokens in and 2 out, at 2 and 10 a million.
        assert judge.about == {
            "model": "tester",
            "base_url": server.url,
            "parameters": {"temperature": 0},
            "snapshots": ["tester-2026-01-01"],
            "tokens_in": 300,
            "tokens_out": 6,
            "cost": pytest.approx((300 * 2 + 6 * 10) / 1e6),
            "calls_in_this_run": 3,
            "cost_of_this_run": pytest.approx((300 * 2 + 6 * 10) / 1e6),
        }
    assert [(verdict.id, verdict.value) for verdict in verdicts] == [("aaa/0", 3), ("b/0", 1), ("cc/0", 2)]
    assert written == [1, 2, 3]
    assert verdicts[0] == Verdict("aaa/0", 3, None, "", "3", "tester-2026-01-01")
    assert lines(file)[0] == {
        "id": "aaa/0",
        "request": lines(file)[0]["request"],
        "judge": {"model": "tester", "base_url": server.url, "parameters": {"temperature": 0}},
        "model": "tester-2026-01-01",
        "text": "3",
        "failure": None,
        "reason": "",
        "finish": "stop",
        "tokens_in": 100,
        "tokens_out": 2,
    }


def test_what_is_in_the_file_is_not_asked_again(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    file = tmp_path / "verdicts.jsonl"
    with judging(server) as judge:
        judge.ask(questions("a", "bb"), number, file)
    with judging(server) as judge:
        verdicts = judge.ask(questions("a", "bb", "ccc"), number, file)
        # The cost is of all verdicts, the calls are of this run.
        assert (judge.about["tokens_in"], judge.about["calls_in_this_run"]) == (300, 1)
    assert [verdict.value for verdict in verdicts] == [1, 2, 3]
    assert server.texts == ["a", "bb", "ccc"] or sorted(server.texts[:2]) == ["a", "bb"]
    assert len(server.texts) == 3
    # Another prompt, model or parameter is another question; the lines of the first stay.
    with judging(server, model="other") as judge:
        judge.ask(questions("a"), number, file)
    with judging(server, parameters={"temperature": 1}) as judge:
        judge.ask(questions("a"), number, file)
    assert len(server.texts) == 5
    with judging(server) as judge:
        assert judge.ask(questions("a"), number, file)[0].value == 1
    assert len(server.texts) == 5
    assert [line["judge"]["model"] for line in lines(file)] == ["tester", "tester", "tester", "other", "tester"]


def test_another_id_for_the_same_question_is_written_and_not_asked(
    chat: Any, chat_server: Start, tmp_path: Path
) -> None:
    server = chat_server(length(chat))
    file = tmp_path / "verdicts.jsonl"
    same = [Question(id_, [Message(role="user", content="same")]) for id_ in ("first", "second")]
    with judging(server) as judge:
        assert [verdict.value for verdict in judge.ask(same, number, file)] == [4, 4]
        third = Question("third", same[0].messages)
        assert judge.ask([third], number, file)[0].id == "third"
        assert judge.about["tokens_in"] == 100
    assert len(server.texts) == 1
    assert [line["id"] for line in lines(file)] == ["first", "second", "third"]


def test_repeats_are_asked_each(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, attempt: chat.completion(str(attempt)))
    file, cache = tmp_path / "verdicts.jsonl", tmp_path / "cache.sqlite"
    asked = [question for repeat in range(3) for question in questions("a", repeat=repeat)]
    for run in (file, tmp_path / "again.jsonl"):  # the second time out of the cache
        with judging(server, cache=cache, concurrency=1) as judge:
            assert sorted(verdict.value or 0 for verdict in judge.ask(asked, number, run)) == [1, 2, 3]
    assert len(server.texts) == 3
    assert server.bodies[0] == server.bodies[2]  # which repeat it is, is not sent


def test_failures_are_of_three_kinds_and_only_transport_errors_are_asked_again(
    chat: Any, chat_server: Start, tmp_path: Path
) -> None:
    responses = {
        "good": chat.completion("7"),
        "refused": chat.completion(None, refusal="I would rather not."),
        "mumbled": chat.completion("seven"),
        "empty": chat.completion(None, finish="length"),
        "down": chat.error(500, "kaputt"),
    }
    server = chat_server(lambda text, _: responses[text])
    file = tmp_path / "verdicts.jsonl"
    with judging(server, retries=0) as judge:
        verdicts = judge.ask(questions(*responses), number, file)
    kinds = [None, "refusal", "unparseable answer", "unparseable answer", "no answer"]
    assert [verdict.failure for verdict in verdicts] == kinds
    assert [verdict.value for verdict in verdicts] == [7, None, None, None, None]
    assert verdicts[1].reason == "I would rather not."
    assert (verdicts[2].reason, verdicts[2].text) == ("it is no number", "seven")
    assert verdicts[3].reason == "the answer is empty (the answer was cut off at the token limit)"
    assert "kaputt" in verdicts[4].reason
    assert failures(verdicts) == {"unparseable answer": 2, "refusal": 1, "no answer": 1}
    responses["down"] = chat.completion("8")
    with judging(server, retries=0) as judge:
        again = judge.ask(questions(*responses), number, file)
    assert [verdict.value for verdict in again] == [7, None, None, None, 8]
    assert server.texts[5:] == ["down"]


def test_a_better_parser_reads_what_was_said(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, _: chat.completion("seven"))
    file = tmp_path / "verdicts.jsonl"
    with judging(server) as judge:
        assert judge.ask(questions("a"), number, file)[0].failure == "unparseable answer"
        assert judge.ask(questions("a"), {"seven": 7}.__getitem__, file)[0] == Verdict(
            "a/0", 7, None, "", "seven", "tester-2026-01-01"
        )
    assert len(server.texts) == 1


def test_thoughts_are_not_part_of_a_verdict(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    said = {"whole": "<think>9? no, 7</think>\n7", "cut": "<think>9? no", "none": "7"}
    server = chat_server(lambda text, _: chat.completion(said[text], finish="length" if text == "cut" else "stop"))
    with judging(server) as judge:
        whole, cut, none = judge.ask(questions(*said), lambda text: number(text[:1]), tmp_path / "v.jsonl")
    assert (whole.value, none.value) == (7, 7)
    assert whole.text == said["whole"]
    assert cut.failure == "unparseable answer"
    assert cut.reason == "the answer ends before its thoughts do (the answer was cut off at the token limit)"


def test_a_replay_gives_the_same_verdicts_and_asks_nobody(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    file = tmp_path / "verdicts.jsonl"
    with judging(server, model="earlier") as judge:
        judge.ask(questions("a"), lambda text: 99, file)
    with judging(server, parameters={"temperature": 0}) as judge:
        first = judge.ask(questions("a", "bb"), number, file)
        told = judge.about
    server.close()
    with open_judge(f"replay:{file}", parameters={"ignored": True}) as replay:
        again = replay.ask(questions("bb", "a", "new"), number, tmp_path / "copy.jsonl")
        assert replay.name == "tester"
        same = ("model", "base_url", "parameters", "snapshots", "tokens_in", "tokens_out")
        assert {key: replay.about[key] for key in same} == {key: told[key] for key in same}
        assert replay.about["replayed"] == str(file)
        assert replay.estimate(questions("a"), file).to_ask == 0
    assert again[:2] == [first[1], first[0]]
    assert (again[2].failure, again[2].reason) == ("no answer", f"not among the verdicts of {file}")
    # What was replayed can be replayed.
    with open_judge(f"replay:{tmp_path / 'copy.jsonl'}", parameters={}) as replay:
        assert replay.ask(questions("a", "bb"), number, tmp_path / "copy.jsonl") == first
    assert len(lines(tmp_path / "copy.jsonl")) == 2


def test_a_directory_of_verdicts_is_replayed_whole(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    with judging(server) as judge:
        judge.ask(questions("a"), number, tmp_path / "out" / "one" / "verdicts.jsonl")
        judge.ask(questions("bb"), number, tmp_path / "out" / "two" / "verdicts.jsonl")
    with open_judge(f"replay:{tmp_path / 'out'}", parameters={}) as replay:
        verdicts = replay.ask(questions("a", "bb"), number, tmp_path / "out" / "one" / "verdicts.jsonl")
    assert [verdict.value for verdict in verdicts] == [1, 2]


def test_files_that_cannot_be_replayed(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"cannot read the verdicts .*none\.jsonl"),
        open_judge(f"replay:{tmp_path / 'none.jsonl'}", parameters={}),
    ):
        pass
    (tmp_path / "empty.jsonl").write_text("")
    with (
        pytest.raises(
            ConfigError, match=r"empty\.jsonl has no verdicts. Give the directory, or a verdicts\.jsonl, of an"
        ),
        open_judge(f"replay:{tmp_path / 'empty.jsonl'}", parameters={}),
    ):
        pass
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with (
        pytest.raises(StoreError, match=r"other\.jsonl:1 is not a record of this kind"),
        open_judge(f"replay:{tmp_path / 'other.jsonl'}", parameters={}),
    ):
        pass
    with pytest.raises(ConfigError, match="the judge has no name"), open_judge(" ", parameters={}):
        pass


def test_what_a_killed_process_left_of_a_line_is_cut_off(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    file = tmp_path / "verdicts.jsonl"
    with judging(server) as judge:
        judge.ask(questions("a", "bb"), number, file)
    half = file.read_bytes()[:-20]
    file.write_bytes(half)
    with judging(server) as judge:
        assert [verdict.value for verdict in judge.ask(questions("a", "bb"), number, file)] == [1, 2]
    assert len(server.texts) == 3
    assert len(lines(file)) == 2
    file.write_bytes(b"{}\n" + file.read_bytes())
    with judging(server) as judge, pytest.raises(StoreError, match=r"verdicts\.jsonl:1 is not a record"):
        judge.ask(questions("a"), number, file)


def test_the_estimate_leaves_out_what_is_known(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    file = tmp_path / "verdicts.jsonl"
    prices: dict[str, Any] = {"price_in": 1e6, "price_out": 1e6, "cache": tmp_path / "c.sqlite"}
    told: list[str] = []
    # Two equal, and one of forty letters: 4 + 40 / 4 = 14 tokens in. The others have 4.
    asked = [*questions("a", "bb"), Question("again", questions("a")[0].messages), *questions("d" * 40)]
    with judging(server, parameters={"max_tokens": 10}, **prices) as judge:
        judge.ask(questions("a"), number, file)
        judge.ask(questions("bb"), number, tmp_path / "elsewhere.jsonl")  # in the cache, then
        estimate = judge.estimate(asked, file)
        assert (estimate.rows, estimate.distinct, estimate.answered, estimate.to_ask) == (4, 3, 2, 1)
        assert (estimate.tokens_in, estimate.tokens_out, estimate.cost) == (14, 10, 24.0)
        judge._tell = told.append
        judge.ask([], number, file)
        assert told == []
        with judging(server, parameters={"max_tokens": 1}, price_in=1e6, price_out=1e6, max_cost=5.0) as poorer:
            sentences = poorer.estimate(asked, file).sentences("question")
    assert sentences == [
        f"4 questions, 3 different, 0 answered before: 3 requests to tester at {server.url}",
        "about 22 tokens in, at most 3 out: at most about 25, and the run stops at 5",
    ]


def test_a_dry_judge_asks_nobody_and_knows_what_is_known(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    file = tmp_path / "verdicts.jsonl"
    with judging(server) as judge:
        judge.ask(questions("a"), number, file)
        dry = DryJudge(judge)
        before = file.read_bytes()
        verdicts = dry.ask(questions("a", "bb"), number, file)
    assert [(verdict.value, verdict.failure) for verdict in verdicts] == [(1, None), (None, "no answer")]
    assert [estimate.to_ask for estimate in dry.estimates] == [1]
    assert file.read_bytes() == before
    assert len(server.texts) == 1


def test_secrets_are_not_written(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    url = server.url.replace("http://", "http://user:hunter2@") + "?key=hunter2"
    with LLM(LLMSettings(model="tester", base_url=url, retries=0)) as llm:
        assert EndpointJudge(llm).about["base_url"] == server.url
    with judging(server) as judge:
        judge.ask(questions("a"), number, tmp_path / "verdicts.jsonl")
    assert "sk-secret" not in (tmp_path / "verdicts.jsonl").read_text()


def test_two_questions_need_two_ids(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(length(chat))
    twice = [Question("one", [Message(role="user", content=text)]) for text in "ab"]
    with judging(server) as judge, pytest.raises(ValueError, match="the same id"):
        judge.ask(twice, number, tmp_path / "verdicts.jsonl")


def test_bounds_of_what_is_missing() -> None:
    values = np.array([1.0, np.nan, 4.0, np.nan])
    assert missing_bounds(values, 0.0, 10.0) == (1.25, 6.25)  # (1 + 4) / 4 and (1 + 4 + 20) / 4
    assert missing_bounds(values[:1], 0.0, 10.0) == (1.0, 1.0)
    assert all(map(math.isnan, missing_bounds(values[:0], 0.0, 1.0)))


# --- from options -----------------------------------------------------------------------------------------------------


def test_a_judge_out_of_options(
    chat: Any, chat_server: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = chat_server(length(chat))
    options: dict[str, Any] = {
        "defaults": {"temperature": 0, "max_tokens": 9},
        "settings": ["temperature=null", "top_p=0.5"],
        "base_url": server.url,
        "cache": tmp_path / "c.sqlite",
    }
    file = tmp_path / "verdicts.jsonl"
    with pytest.raises(typer.Exit), judge_from_options("tester", **options, dry_run=True) as judge:
        judge.ask(questions("a"), number, file)
        judge.ask(questions("bb"), number, file)
    printed = capsys.readouterr()
    asked = f"1 question, 1 different, 0 answered before: 1 request to tester at {server.url}"
    assert printed.out.splitlines() == [asked, "about 4 tokens in, at most 9 out"] * 2
    assert server.texts == []
    with judge_from_options("tester", **options) as judge:
        assert judge.ask(questions("a"), number, file)[0].value == 1
    assert server.bodies[0].keys() & {"temperature", "max_tokens", "top_p"} == {"max_tokens", "top_p"}
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [asked, "about 4 tokens in, at most 9 out", "asked tester: 1 call in this run"]
    with judge_from_options(f"replay:{file}", defaults={}) as judge:
        assert judge.ask(questions("a"), number, file)[0].value == 1
    assert capsys.readouterr().err == "replayed tester: nothing was asked\n"


def test_options_that_make_no_judge(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="there is no judge. Give --judge MODEL"),
        judge_from_options(None, defaults={}),
    ):
        pass
    with judge_if_asked(None, defaults={}) as judge:
        assert judge is None
    with pytest.raises(ConfigError, match="there is no judge"), judge_if_asked(None, defaults={}, dry_run=True):
        pass
    with (
        pytest.raises(ConfigError, match=r"max_tokens=3 is for a judge that is asked, and this is --judge replay:x"),
        judge_from_options("replay:x", defaults={}, settings=["max_tokens=3"]),
    ):
        pass
