"""The client of LLM endpoints against a real server on loopback: retries, rate limits, refusals, cache, costs."""

from __future__ import annotations

import email.utils
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import ConfigError, JudgeError, StoreError
from proxygold.llm import LLM, LLMSettings, Refusal, Reply, TransportError, UnparseableAnswer, estimate_tokens
from proxygold.llm.call import _retry_after

Start = Callable[[Callable[[str, int], Any]], Any]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def settings(server: Any, **changes: Any) -> LLMSettings:
    return LLMSettings(**{"model": "tester", "base_url": server.url, "first_delay": 0.01, "timeout": 5.0, **changes})


def upper(reply: Reply) -> str:
    if not reply.text.isupper():
        raise UnparseableAnswer("not in capitals", reply.text)
    return reply.text


def test_answers_come_in_order_with_their_usage(chat: Any, chat_server: Start) -> None:
    server = chat_server(lambda text, _: chat.completion(text.upper()))
    parameters = {"temperature": 0, "max_completion_tokens": 9, "top_k": 3}
    done: list[int] = []
    with LLM(settings(server, parameters=parameters, price_in=2.0, price_out=10.0)) as llm:
        assert llm.ask_all([ask("a"), ask("b"), ask("a")], upper, done.append) == ["A", "B", "A"]
        # The same request twice is one call; 2 calls of 100 tokens in and 2 out at 2 and 10 a million.
        assert (llm.spent.calls, llm.spent.prompt_tokens, llm.spent.completion_tokens) == (2, 200, 4)
        assert llm.spent.cost == pytest.approx((200 * 2 + 4 * 10) / 1e6)
    assert sorted(done) == [0, 1, 2]
    assert sorted(server.texts) == ["a", "b"]
    sent = server.bodies[0]
    # Parameters that the openai client has never heard of are sent as well.
    assert {key: sent[key] for key in parameters} == parameters
    assert sent["model"] == "tester"
    assert server.keys[0] == "Bearer sk-secret"


def test_what_is_cached_makes_no_call(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, _: chat.completion("A"))
    one = settings(server, cache=tmp_path / "new" / "c.sqlite", parameters={"temperature": 0})
    for calls in (2, 0):
        with LLM(one) as llm:
            assert llm.is_cached(ask("x")) == (calls == 0)
            assert llm.ask_all([ask("x"), ask("y")], upper) == ["A", "A"]
            assert (llm.spent.calls, llm.spent.cached) == (calls, 2 - calls)
    assert len(server.bodies) == 2
    # Another model, parameter, message or endpoint is another question.
    other = chat_server(lambda text, _: chat.completion("B"))
    changed: list[dict[str, Any]] = [
        {"model": "other"},
        {"parameters": {"temperature": 1}},
        {"base_url": other.url},
        {"base_url": other.url + "/"},  # but a slash at its end makes no other endpoint
    ]
    for change, answer, calls in zip(changed, "AABB", (1, 1, 1, 0), strict=True):
        with LLM(settings(server, **{"cache": one.cache, "parameters": {"temperature": 0}, **change})) as llm:
            assert llm.ask_all([ask("x")], upper) == [answer]
            assert llm.spent.calls == calls, change
    with LLM(one) as llm:
        assert not llm.is_cached([{"role": "system", "content": "x"}])


def test_cached_answers_need_neither_key_nor_endpoint(
    chat: Any, chat_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = chat_server(lambda text, _: chat.completion("A"))
    with LLM(settings(server, cache=tmp_path / "c.sqlite")) as llm:
        llm.ask_all([ask("x")], upper)
    server.close()
    monkeypatch.delenv("OPENAI_API_KEY")
    with LLM(settings(server, cache=tmp_path / "c.sqlite")) as llm:
        assert llm.ask_all([ask("x")], upper) == ["A"]


@pytest.mark.parametrize("trouble", ["500", "503", "408", "cut off", "garbage", "not a completion", "no choices"])
def test_what_passes_is_tried_again(chat: Any, chat_server: Start, trouble: str) -> None:
    bad = {
        "500": chat.error(500),
        "503": chat.error(503, Retry_After="0.05"),
        "408": chat.error(408),
        "cut off": chat.Response(drop=True),
        "garbage": chat.Response(body=b"<html>oops"),
        "not a completion": chat.Response(body=b'{"hello": 1}'),
        "no choices": chat.Response(body=b'{"object": "chat.completion", "model": "m", "choices": []}'),
    }[trouble]
    server = chat_server(lambda text, attempt: bad if attempt <= 2 else chat.completion("A"))
    with LLM(settings(server)) as llm:
        assert llm.ask_all([ask("x")], upper) == ["A"]
        assert llm.spent.calls == 3


def test_a_transport_error_is_no_answer_and_is_never_cached(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    mended = threading.Event()
    server = chat_server(
        lambda text, _: chat.completion("A") if text == "good" or mended.is_set() else chat.error(500, "kaputt")
    )
    one = settings(server, cache=tmp_path / "c.sqlite", retries=1)
    with LLM(one) as llm:
        good, bad = llm.ask_all([ask("good"), ask("bad")], upper)
        assert good == "A"
        assert isinstance(bad, TransportError)
        assert "HTTP 500" in str(bad)
        assert "kaputt" in str(bad)
        assert "at try 2 of 2" in str(bad)
    mended.set()
    with LLM(one) as llm:
        assert llm.ask_all([ask("good"), ask("bad")], upper) == ["A", "A"]
        assert (llm.spent.calls, llm.spent.cached) == (1, 1)


def test_a_server_that_hangs_or_trickles_is_given_up(chat: Any, chat_server: Start) -> None:
    server = chat_server(lambda text, _: chat.Response(delay=2.0))
    begin = time.monotonic()
    with LLM(settings(server, timeout=0.2, retries=1)) as llm:
        [answer] = llm.ask_all([ask("x")], upper)
    assert isinstance(answer, TransportError)
    assert "no answer within 0.2 s" in str(answer)
    assert time.monotonic() - begin < 2.0


def test_refusals_and_parse_errors_are_answers_of_their_own_kinds(
    chat: Any, chat_server: Start, tmp_path: Path
) -> None:
    responses = {
        "refused": chat.completion(None, refusal="I would rather not."),
        "filtered": chat.completion("", finish="content_filter"),
        "filter of the prompt": chat.error(400, "flagged", "content_filter"),
        "mumbled": chat.completion("hm"),
        "empty": chat.completion(None),
    }
    server = chat_server(lambda text, _: responses[text])
    for calls in (5, 0):  # they are cached like any answer
        with LLM(settings(server, cache=tmp_path / "c.sqlite")) as llm:
            answers = dict(zip(responses, llm.ask_all([ask(text) for text in responses], upper), strict=True))
            assert llm.spent.calls == calls
        assert [type(answer) for answer in answers.values()] == [Refusal] * 3 + [UnparseableAnswer] * 2
        assert str(answers["refused"]) == "I would rather not."
        assert "content filter" in str(answers["filtered"])
        assert "flagged" in str(answers["filter of the prompt"])
        mumbled = answers["mumbled"]
        assert isinstance(mumbled, UnparseableAnswer)
        assert mumbled.answer == "hm"


def test_retry_after_is_honoured_and_concurrency_is_cut(chat: Any, chat_server: Start) -> None:
    limited = threading.Event()

    def answer(text: str, attempt: int) -> Any:
        if not limited.is_set() and len(server.bodies) >= 8:
            limited.set()
        if attempt == 1 and int(text) < 8:
            limited.wait(5)  # so that all eight are under way together
            return chat.error(429, "slow down", Retry_After="0.4")
        return chat.Response(**{**chat.completion("A").__dict__, "delay": 0.05})

    server = chat_server(answer)
    with LLM(settings(server, concurrency=8, retries=0)) as llm:
        assert llm.ask_all([ask(str(n)) for n in range(12)], upper) == ["A"] * 12
        # Eight refusals of requests that were sent together halve once: 4; then one more after each round.
        assert 4 <= llm._gate.limit <= 7
    assert max(server.under_way[:8]) == 8
    # Half as many at once to begin with; after 4 that went well 5, after 5 more 6.
    assert max(server.under_way[8:12]) <= 4
    assert max(server.under_way[8:]) <= 6
    first, later = server.times[:8], server.times[8:]
    assert min(later) >= max(first) + 0.4  # nobody asks before the time is over, new requests neither
    assert len(server.times) == 8 + 12


def test_a_limit_that_will_not_pass_in_time_is_not_waited_for(chat: Any, chat_server: Start) -> None:
    server = chat_server(lambda text, _: chat.error(429, "daily limit", Retry_After="86400"))
    with LLM(settings(server)) as llm:
        [answer] = llm.ask_all([ask("x")], upper)
    assert isinstance(answer, TransportError)
    assert "daily limit" in str(answer)
    assert len(server.bodies) == 1


def test_retry_after_as_seconds_and_as_a_date() -> None:
    assert _retry_after({"retry-after": "1.5"}) == 1.5
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert _retry_after({"retry-after": in_a_minute}) == pytest.approx(60, abs=2)
    assert _retry_after({"retry-after-ms": "250", "retry-after": "1"}) == 0.25
    assert _retry_after({"retry-after-ms": "soon", "retry-after": "1"}) == 1.0
    assert _retry_after({"retry-after": "soon"}) is None
    assert _retry_after({}) is None


@pytest.mark.parametrize(
    ("status", "code"), [(401, "invalid_api_key"), (403, None), (404, "model_not_found"), (429, "insufficient_quota")]
)
def test_what_no_retry_mends_stops_the_run(chat: Any, chat_server: Start, status: int, code: str | None) -> None:
    server = chat_server(lambda text, _: chat.error(status, "go away", code))
    with LLM(settings(server, concurrency=2)) as llm, pytest.raises(JudgeError, match="go away.*Check the key") as stop:
        llm.ask_all([ask(str(n)) for n in range(50)], upper)
    assert not isinstance(stop.value, TransportError)
    assert "sk-secret" not in str(stop.value)
    assert len(server.bodies) <= 4


def test_an_endpoint_that_is_gone_stops_the_run_and_keeps_what_was_answered(
    chat: Any, chat_server: Start, tmp_path: Path
) -> None:
    server = chat_server(lambda text, _: chat.completion("A") if int(text) < 6 else chat.error(500))
    one = settings(server, cache=tmp_path / "c.sqlite", retries=0, concurrency=1)
    with LLM(one) as llm, pytest.raises(JudgeError, match="(?s)failed 5 requests in a row.*goes on from there"):
        llm.ask_all([ask(str(n)) for n in range(100)], upper)
    assert len(server.bodies) == 6 + 5
    with LLM(one) as llm:
        assert [llm.is_cached(ask(str(n))) for n in range(8)] == [True] * 6 + [False] * 2


def test_requests_that_are_rejected(chat: Any, chat_server: Start) -> None:
    # All of them: something is wrong with the parameters. One after others were answered: something with it.
    server = chat_server(
        lambda text, _: chat.error(400, "use max_completion_tokens") if text > "b" else chat.completion("A")
    )
    with (
        LLM(settings(server)) as llm,
        pytest.raises(JudgeError, match="(?s)HTTP 400: use max_completion_tokens\n.*parameters"),
    ):
        llm.ask_all([ask(f"z{n}") for n in range(20)], upper)
    with LLM(settings(server, concurrency=1)) as llm:
        answers = llm.ask_all([ask("a"), *(ask(f"z{n}") for n in range(7))], upper)
    assert answers[0] == "A"
    assert all(isinstance(answer, TransportError) and "HTTP 400" in str(answer) for answer in answers[1:])


def test_the_cost_limit_is_never_passed(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, _: chat.completion("A", usage=(14, 10)))
    # A request is estimated at 4 + 40/4 = 14 tokens in and at most 10 out: 24 at a price of 1 a token.
    texts = [ask(f"{n:040d}") for n in range(10)]
    assert estimate_tokens(texts[0]) == 14
    million = {"price_in": 1e6, "price_out": 1e6}
    limit: dict[str, Any] = {"cache": tmp_path / "c.sqlite", "parameters": {"max_tokens": 10}, **million}
    with LLM(settings(server, max_cost=100.0, **limit)) as llm:
        with pytest.raises(JudgeError, match="stopped at the cost limit of 100: .*a higher limit goes on"):
            llm.ask_all(texts, upper)
        assert llm.spent.cost is not None
        assert llm.spent.cost <= 100
    assert len(server.bodies) == 4  # 96; a fifth might have cost 120
    with LLM(settings(server, concurrency=1, max_cost=1000.0, **limit)) as llm:
        assert llm.ask_all(texts, upper) == ["A"] * 10
    assert len(server.bodies) == 10


def test_usage_that_the_endpoint_does_not_tell_is_estimated(chat: Any, chat_server: Start) -> None:
    server = chat_server(lambda text, _: chat.completion("ABCDEFGH", usage=None))
    with LLM(settings(server)) as llm:
        llm.ask_all([ask("x" * 40)], upper)
        assert (llm.spent.prompt_tokens, llm.spent.completion_tokens) == (14, 2)


def test_keys_and_endpoints_come_from_the_environment(
    chat: Any, chat_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = chat_server(lambda text, _: chat.completion("A"))
    monkeypatch.delenv("OPENAI_API_KEY")
    with LLM(LLMSettings(model="m")) as llm, pytest.raises(JudgeError, match="OPENAI_API_KEY is not set"):
        llm.ask_all([ask("x")], upper)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    with LLM(LLMSettings(model="m")) as llm:  # a local server needs no key
        assert llm.ask_all([ask("x")], upper) == ["A"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"max_cost": 1.0}, "a cost limit needs prices"),
        ({"parameters": {"max_tokens": 1, "max_completion_tokens": 1}}, "takes one of them"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLMSettings(model="m", **wrong)


def test_a_cache_that_is_damaged_or_in_no_place(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"c\.sqlite cannot be used.*delete this one if it is damaged"):
        LLM(LLMSettings(model="m", cache=tmp_path / "c.sqlite"))
    with pytest.raises(StoreError, match="cannot be used"):
        LLM(LLMSettings(model="m", cache=tmp_path / "c.sqlite" / "d.sqlite"))


def test_an_answer_is_in_the_cache_as_soon_as_it_came(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    rows: list[int] = []
    server = chat_server(lambda text, _: chat.completion(text.upper()))

    def look(index: int) -> None:
        with sqlite3.connect(tmp_path / "c.sqlite") as other:
            rows.append(other.execute("SELECT count(*) FROM replies").fetchone()[0])

    with LLM(settings(server, cache=tmp_path / "c.sqlite", concurrency=1)) as llm:
        llm.ask_all([ask("a"), ask("b"), ask("c")], upper, look)
    assert rows == [1, 2, 3]
    with sqlite3.connect(tmp_path / "c.sqlite") as file:
        replies = [json.loads(reply) for (reply,) in file.execute("SELECT reply FROM replies")]
    assert {reply["text"] for reply in replies} == {"A", "B", "C"}
    assert {reply["model"] for reply in replies} == {"tester-2026-01-01"}  # the snapshot that answered
    assert "sk-secret" not in (tmp_path / "c.sqlite").read_bytes().decode("latin-1")
