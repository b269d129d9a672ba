"""A judge behind everything that goes wrong between here and an endpoint, and a user who presses Ctrl-C.

The server says which questions it answered well and how often: nothing may be lost, and nothing judged twice.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxygold.errors import JudgeError, StoreError
from proxygold.evaluation.judges.judging import EndpointJudge, Question, Verdict, failures
from proxygold.llm import LLM, LLMSettings
from proxygold.records import Message

Start = Callable[[Callable[[str, int], Any]], Any]

# What becomes of a question at its first tries; then the server answers it. `down` gets no answer in the first run.
TROUBLES = (
    *("429", "429 for a while", "500", "503", "half a JSON", "cut off", "garbage", "no choices"),
    *("refusal", "filtered", "mumbling", "down", "none"),
)
EACH = 4
QUESTIONS = [
    Question(f"{number}", [Message(role="user", content=f"{trouble} #{number}")])
    for number, trouble in enumerate(TROUBLES * EACH)
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")


class Endpoint:
    """Answers as `TROUBLES` says, and counts the whole answers that it gave to each question."""

    def __init__(self, chat: Any) -> None:
        self.chat = chat
        self.mended = False
        self.given: Counter[str] = Counter()

    def __call__(self, text: str, attempt: int) -> Any:
        trouble = text.partition(" #")[0]
        if trouble == "down" and not self.mended:
            return self.chat.error(500, "kaputt")
        if attempt <= 2 and (fault := self.fault(trouble)) is not None:
            return fault
        self.given[text] += 1
        return {
            "refusal": self.chat.completion(None, refusal="I would rather not."),
            "filtered": self.chat.error(400, "flagged", "content_filter"),
            "mumbling": self.chat.completion("hm"),
        }.get(trouble, self.chat.completion(str(len(text))))

    def fault(self, trouble: str) -> Any:
        whole = self.chat.completion("a verdict that never arrives whole").body
        return {
            "429": self.chat.error(429, "slow down"),
            "429 for a while": self.chat.error(429, "slow down", Retry_After="0.05"),
            "500": self.chat.error(500),
            "503": self.chat.error(503, Retry_After="0.02"),
            "half a JSON": self.chat.Response(body=whole[: len(whole) // 2]),
            "cut off": self.chat.Response(drop=True),
            "garbage": self.chat.Response(body=b"\x00\xff<html>"),
            "no choices": self.chat.Response(body=b'{"object": "chat.completion", "model": "m", "choices": []}'),
        }.get(trouble)


def ask(server: Any, file: Path, **changes: Any) -> list[Verdict[int]]:
    settings: dict[str, Any] = {"concurrency": 16, "retries": 4, "timeout": 60.0, "first_delay": 0.01, **changes}
    with LLM(LLMSettings(model="tester", base_url=server.url, **settings)) as llm:
        return EndpointJudge(llm).ask(QUESTIONS, number, file)


def number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("it is no number")
    return int(text)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_nothing_is_lost_and_nothing_is_judged_twice(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    endpoint = Endpoint(chat)
    server = chat_server(endpoint)
    file = tmp_path / "verdicts.jsonl"
    verdicts = ask(server, file)

    # Every question has a verdict or a failure of the right kind.
    expected = {"refusal": "refusal", "filtered": "refusal", "mumbling": "unparseable answer", "down": "no answer"}
    texts = [question.messages[0]["content"] for question in QUESTIONS]
    for question, text, verdict in zip(QUESTIONS, texts, verdicts, strict=True):
        assert verdict.id == question.id
        assert verdict.failure == expected.get(text.partition(" #")[0]), verdict
        assert verdict.value == (len(text) if verdict.failure is None else None)
    assert failures(verdicts) == {"refusal": 2 * EACH, "unparseable answer": EACH, "no answer": EACH}
    assert sum(verdict.value is not None for verdict in verdicts) == len(QUESTIONS) - 4 * EACH

    # The server gave each one whole answer, those that are down none; the file has a line for each.
    assert endpoint.given == Counter(text for text in texts if not text.startswith("down"))
    assert sorted(line["id"] for line in lines(file)) == sorted(question.id for question in QUESTIONS)

    # The same again asks for what got no answer, and for nothing else.
    endpoint.mended = True
    calls = len(server.texts)
    again = ask(server, file)
    assert sorted(server.texts[calls:]) == sorted(text for text in texts if text.startswith("down"))
    assert failures(again) == {"refusal": 2 * EACH, "unparseable answer": EACH}
    assert endpoint.given == Counter(texts)
    assert [new for old, new in zip(verdicts, again, strict=True) if old.failure != "no answer"] == [
        old for old in verdicts if old.failure != "no answer"
    ]

    # And once more asks nobody.
    calls = len(server.texts)
    assert ask(server, file) == again
    assert len(server.texts) == calls
    assert len(lines(file)) == len(QUESTIONS) + EACH


def test_an_interrupted_run_goes_on(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"

    once = threading.Lock()

    def answer(text: str, attempt: int) -> Any:
        if len(server.texts) >= 20 and once.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)
        return chat.completion(str(len(text)))

    server = chat_server(answer)
    # A shell's background job begins without SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(server, file, concurrency=4)
    finally:
        signal.signal(signal.SIGINT, before)
    came = -1
    while came != (came := len(server.texts)):  # what was sent before the interrupt may come to the server after it
        time.sleep(0.5)
    kept = {line["id"] for line in lines(file)}
    assert 12 <= len(kept) < 24  # but for the few that were under way
    calls = len(server.texts)
    verdicts = ask(server, file, concurrency=4)
    assert all(verdict.value is not None for verdict in verdicts)
    assert len(server.texts) - calls == len(QUESTIONS) - len(kept)
    asked_before = {question.messages[0]["content"] for question in QUESTIONS if question.id in kept}
    assert not asked_before & set(server.texts[calls:])
    assert len(lines(file)) == len(QUESTIONS)


def test_what_stops_a_run_keeps_what_was_judged(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    renewed = False

    def answer(text: str, attempt: int) -> Any:
        return chat.completion("1") if len(server.texts) <= 10 or renewed else chat.error(401, "expired")

    server = chat_server(answer)
    with pytest.raises(JudgeError, match=r"HTTP 401: expired. Check the key"):
        ask(server, file, concurrency=1)
    assert len(lines(file)) == 10
    renewed = True
    assert all(verdict.value == 1 for verdict in ask(server, file))
    # Ten before; the one that was refused; the rest.
    assert len(server.texts) == 10 + 1 + len(QUESTIONS) - 10


def test_the_cost_limit_stops_and_the_rest_goes_on_from_there(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    server = chat_server(lambda text, _: chat.completion("1", usage=(10, 10)))
    # A question has 4 tokens and at most 20 / 4 = 5 of text; with 10 out at a price of 1 a token: 19 at most, 20 spent.
    limit: dict[str, Any] = {"parameters": {"max_tokens": 10}, "price_in": 1e6, "price_out": 1e6}
    with pytest.raises(JudgeError, match="stopped at the cost limit of 100: .*a higher limit goes on"):
        ask(server, file, max_cost=100.0, concurrency=1, **limit)
    assert len(lines(file)) == len(server.texts) == 5
    assert sum(verdict.value == 1 for verdict in ask(server, file, max_cost=5000.0, **limit)) == len(QUESTIONS)
    assert len(server.texts) == len(QUESTIONS)


def test_a_full_disk_stops_before_more_is_paid_for(chat: Any, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(lambda text, _: chat.completion("1"))
    file = tmp_path / "verdicts.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # a line has some 300 bytes
    try:
        with pytest.raises(StoreError, match=r"cannot write .*verdicts\.jsonl"):
            ask(server, file, concurrency=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    whole = file.read_bytes().count(b"\n")
    assert 2 <= whole <= 4
    assert len(server.texts) <= whole + 2  # the one that did not fit, and one that was under way
    assert all(verdict.value == 1 for verdict in ask(server, file))
    assert len(lines(file)) == len(QUESTIONS)
