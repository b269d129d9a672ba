"""A served reward used as if it were here."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import numpy as np
import pytest

from proxygold import Example, feature, reward
from proxygold.errors import ConfigError, RewardError
from proxygold.integrations.client import RewardClient

Serving = Callable[..., AbstractContextManager[httpx.Client]]

BRANCH = "branch(open_ended = LI * RP, closed_ended = RP / LI)"


def examples(count: int) -> list[Example]:
    kinds = ("open_ended", "closed_ended", None)
    return [
        Example(prompt=f"p{n}", completion="a b a b c " * (n % 5), query_type=kinds[n % 3], columns={"n": n})
        for n in range(count)
    ]


def url_of(client: httpx.Client) -> str:
    return str(client.base_url)


def test_scores_are_those_of_the_reward_itself(serving: Serving) -> None:
    made = reward(BRANCH)
    with serving(made) as server:
        client = RewardClient(url_of(server))
        served, direct = client.score(iter(examples(60))), made.score(examples(60))
        np.testing.assert_array_equal(served.total, direct.total)
        assert list(served.parts) == list(direct.parts)
        for part, values in direct.parts.items():
            np.testing.assert_array_equal(served.parts[part], values)
        assert served.reasons == direct.reasons
        nothing = client.score([])
        assert (nothing.total.shape, nothing.reasons) == ((0,), ())
        assert (str(client), client.reward_id) == (str(made), made.reward_id)
        assert client.required_columns == made.required_columns
        client.close()
        assert client.score(examples(2)).total[1] == direct.total[1]


def test_many_examples_are_sent_within_the_servers_limits(serving: Serving) -> None:
    made = reward("LI")
    with serving(made, max_examples=7, max_body_bytes=600) as server:
        client = RewardClient(url_of(server))
        served = client.score(examples(60))
        np.testing.assert_array_equal(served.total, made.score(examples(60)).total)
        counted = server.get("/metrics").text
        assert 'proxygold_rows_total{path="/score"} 60.0' in counted
        # At most seven at a time; an example is of 88 to 140 bytes, so that fewer fit.
        requests = float(counted.split('proxygold_requests_total{path="/score",status="200"} ')[1].split()[0])
        assert 60 / 7 < requests < 30
        with pytest.raises(RewardError, match=r"answered 413: the request has .* bytes; at most 600 are allowed"):
            client.score([Example(prompt="p", completion="c" * 1_000)])


def test_as_a_trl_reward_function(serving: Serving) -> None:
    made = reward(BRANCH)

    def call(function: Any) -> tuple[list[float | None], dict[str, Any], dict[str, float]]:
        extra: dict[str, Any] = {}
        metrics: dict[str, float] = {}
        given = function(
            prompts=["a"] * 3,
            completions=["one two", [{"role": "assistant", "content": "a a a a"}], "x"],
            completion_ids=[[1]] * 3,
            query_type=["open_ended", "closed_ended", None],
            log_extra=extra.__setitem__,
            log_metric=metrics.__setitem__,
        )
        return given, extra, metrics

    def renamed(logs: dict[str, Any]) -> dict[str, Any]:
        return {name.replace("_served/", "/"): value for name, value in logs.items()}

    with serving(made) as server:
        client = RewardClient(url_of(server))
        assert client.__name__ == f"{made.__name__}_served"
        here, there = call(made), call(client)
        assert there[0] == here[0]
        assert renamed(there[1]) == here[1]
        assert renamed(there[2]) == here[2]
        with pytest.raises(RewardError, match="this reward needs the column query_type, and the data has: prompt"):
            client(prompts=["a"], completions=["b"])


def test_threads_share_a_client_and_a_pickled_one_asks_the_same_server(serving: Serving) -> None:
    made = reward("LI * RP")
    with serving(made, api_key="k3y") as server:
        client = RewardClient(url_of(server), api_key="k3y")
        again = pickle.loads(pickle.dumps(client))
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda example: again.score([example]).total[0], examples(64)))
        assert answers == made.score(examples(64)).total.tolist()


def test_the_servers_words_reach_the_caller(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(reward("LI", on_error="raise"), api_key="k3y") as server:
        with pytest.raises(ConfigError, match="answered 401: this server needs its key"):
            RewardClient(url_of(server), api_key="other").score(examples(1))
        monkeypatch.setenv("PROXYGOLD_API_KEY", "k3y")
        client = RewardClient(url_of(server))
        assert "k3y" not in repr(client)
        with pytest.raises(
            RewardError, match=r"answered 422: examples\[1\]: the role of message 1 of prompt is 'boss'"
        ):
            client.score([Example("p", "c"), Example([{"role": "boss", "content": "x"}], "c")])
        with pytest.raises(RewardError, match="example 0 cannot be sent to the server as JSON: Object of type object"):
            client.score([Example("p", "c", columns={"odd": object()})])


def test_what_cannot_be_reached_is_tried_again_and_then_said() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(RewardError) as caught:
        RewardClient(url, retries=1).score(examples(1))
    assert str(caught.value).startswith(f"the server at {url} cannot be reached: ")
    assert str(caught.value).endswith("Is `proxygold serve` running there? Tried 2 times.")
    for wrong in ("127.0.0.1:8000", "", "ftp://x", "http://"):
        with pytest.raises(ConfigError, match="is no address of a server. Give one such as http://127.0.0.1:8000"):
            RewardClient(wrong)


def test_a_full_queue_is_waited_for(serving: Serving) -> None:
    entered, leave = threading.Semaphore(0), threading.Event()

    @feature("waits_for_the_client")
    def waits(example: Example) -> float:
        entered.release()
        leave.wait(30)
        return 1.0

    with serving(reward("waits_for_the_client"), max_queue=1) as server, ThreadPoolExecutor(3) as pool:
        client = RewardClient(url_of(server))
        answers = [pool.submit(client.score, examples(1))]
        assert entered.acquire(timeout=30)
        answers += [pool.submit(client.score, examples(1)) for _ in range(2)]
        deadline = time.monotonic() + 30
        while 'status="503"' not in server.get("/metrics").text and time.monotonic() < deadline:
            time.sleep(0.02)
        leave.set()
        assert [answer.result(timeout=30).total.tolist() for answer in answers] == [[1.0]] * 3
        assert 'status="503"' in server.get("/metrics").text


def test_a_server_that_is_slower_than_the_timeout(serving: Serving) -> None:
    @feature("takes_its_time")
    def takes(example: Example) -> float:
        time.sleep(1.0)
        return 1.0

    with serving(reward("takes_its_time")) as server:
        client = RewardClient(url_of(server), timeout=0.3)
        with pytest.raises(RewardError, match=r"gave no answer in 0.3 seconds. Give a longer timeout"):
            client.score(examples(1))
        assert "proxygold_batch_rows_count 0.0" in server.get("/metrics").text  # not asked a second time, either


def test_another_kind_of_server() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(page)

        thread = threading.Thread(target=answer)
        thread.start()
        client = RewardClient(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(RewardError, match="is no proxygold server: 'hello'"):
            client.score(examples(1))
        thread.join(timeout=30)


def test_a_proxy_from_the_environment_is_not_asked_for_this_machine(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(reward("LI")) as server:
        assert RewardClient(url_of(server), retries=0).score(examples(1)).total.tolist() == [0.0]
