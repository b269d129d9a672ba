"""The reward over HTTP: a real server on loopback, asked by a real client."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from proxygold import Example, feature, reward
from proxygold.errors import ConfigError, RewardError
from proxygold.integrations.server import ServerSettings, warm_up
from proxygold.integrations.server_process import bind

BRANCH = "branch(open_ended = LI * RP, closed_ended = AR)"
CHATML = "<|im_start|>user\nWhere is Oslo?<|im_end|>\n<|im_start|>assistant\n"


Serving = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module")
def lexical(serving: Serving) -> Iterator[httpx.Client]:
    with serving(reward("LI * RP")) as client:
        yield client


def metric(client: httpx.Client, name: str) -> float:
    """The number on the line of /metrics that begins with `name`."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, flags=re.MULTILINE)
    assert found, name
    return float(found[1])


# --- scores --------------------------------------------------------------------------------------------------


def test_scores_parts_and_reasons(lexical: httpx.Client) -> None:
    examples = [
        {"prompt": "Say three.", "completion": "one two three", "source": "mine"},
        # 8 words; 3 different of 6 trigrams
        {"prompt": [{"role": "user", "content": "Repeat."}], "completion": "a b. a b. a b", "query_type": "OPENENDED"},
    ]
    answer = lexical.post("/score", json={"examples": examples})
    assert answer.status_code == 200
    assert answer.json() == {
        "scores": [
            {"total": 0.03, "parts": {"LI": 0.03, "RP": 1.0, "LI * RP": 0.03}, "reason": None},
            {"total": 0.04, "parts": {"LI": 0.08, "RP": 0.5, "LI * RP": 0.04}, "reason": None},
        ]
    }
    assert lexical.post("/score", json={"examples": []}).json() == {"scores": []}


def test_served_scores_are_the_direct_ones_to_the_last_bit(serving: Serving) -> None:
    made = reward("LI * RP * QR", encoder="all-minilm-l6-v2")
    warm_up(made)
    examples = [
        {"prompt": f"What is {n}?", "completion": "It is " + "very " * n + f"much like {n * n}."} for n in range(24)
    ]
    direct = made.score([Example(**each) for each in examples])
    with serving(made) as client, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda each: client.post("/score", json={"examples": [each]}).json(), examples))
    assert [answer["scores"][0]["total"] for answer in answers] == direct.total.tolist()
    for part, values in direct.parts.items():
        assert [answer["scores"][0]["parts"][part] for answer in answers] == values.tolist()


def test_what_cannot_be_computed_is_null_with_its_reason(serving: Serving) -> None:
    examples: list[dict[str, Any]] = [
        {"prompt": "p", "completion": "a b", "query_type": "open_ended", "reference": None},
        {"prompt": "p", "completion": "a b", "query_type": None},
    ]
    with serving(reward("branch(open_ended = LI, closed_ended = RP)")) as client:
        open_ended, unknown = client.post("/score", json={"examples": examples}).json()["scores"]
        assert open_ended["total"] == 0.02
        assert open_ended["parts"]["RP"] is None  # not selected
        assert unknown["total"] is None
        assert unknown["reason"] == "branch: the example has no query_type"
        assert metric(client, 'proxygold_rows_total{path="/score"}') == 2
        assert metric(client, 'proxygold_rows_not_scored_total{path="/score"}') == 1


def test_32_callers_share_batches(serving: Serving) -> None:
    @feature("slow_for_batches")
    def slow(example: Example) -> float:
        time.sleep(0.01)
        return float(len(example.completion))

    with serving(reward("slow_for_batches")) as client:

        def ask(n: int) -> float:
            answer = client.post("/score", json={"examples": [{"prompt": "p", "completion": "x" * n}]})
            return float(answer.json()["scores"][0]["total"])

        with ThreadPoolExecutor(32) as pool:
            assert list(pool.map(ask, range(128))) == list(range(128))
        assert metric(client, "proxygold_batch_rows_sum") == 128
        assert metric(client, "proxygold_batch_calls_sum") == 128
        # 128 calls, of at most 32 at a time.
        assert metric(client, "proxygold_batch_rows_count") <= 64
        assert metric(client, 'proxygold_requests_total{path="/score",status="200"}') == 128


# --- OpenRLHF ------------------------------------------------------------------------------------------------


def test_openrlhfs_request_and_its_answer(serving: Serving) -> None:
    label = {"prompt": "Where is Oslo?", "query_type": "CONSTRAINED", "reference": "In Norway."}
    body = {
        "query": [CHATML + "In Norway.<|im_end|>", CHATML + "one two three<|im_end|>", "something else"],
        "prompts": [CHATML, CHATML, CHATML],
        "labels": [json.dumps(label), '{"query_type": "open_ended"}', "In Norway."],
    }
    with serving(reward("branch(open_ended = LI, closed_ended = RP)"), fallback=-1.5) as client:
        answer = client.post("/get_reward", json=body)
        assert answer.status_code == 200
        # "In Norway." has three words: one trigram, and no other.
        assert answer.json() == {
            "rewards": [1.0, 0.03, -1.5],
            "scores": [1.0, 0.03, -1.5],
            "extra_logs": {
                "not_scored": [0.0, 0.0, 1.0],
                "LI": [0.0, 0.03, 0.0],
                "LI/computed": [0.0, 1.0, 0.0],
                "RP": [1.0, 0.0, 0.0],
                "RP/computed": [1.0, 0.0, 0.0],
            },
        }
        assert metric(client, 'proxygold_rows_not_scored_total{path="/get_reward"}') == 1
        # OpenRLHF 0.11 sends empty lists to all servers but the first.
        empty = client.post("/get_reward", json={"query": [], "prompts": [], "labels": []}).json()
        assert (empty["rewards"], set(empty["extra_logs"])) == ([], set(answer.json()["extra_logs"]))


def test_openrlhf_gets_a_finite_number_even_from_a_reward_that_raises(
    caplog: pytest.LogCaptureFixture, serving: Serving
) -> None:
    @feature("breaks_on_three")
    def breaks(example: Example) -> float:
        return 1 / (len(example.completion) - 3)

    prompts = ["p: "] * 3
    queries = ["p: ab", "p: abc", "p: abcd"]
    with serving(reward("breaks_on_three", on_error="raise")) as client:
        answer = client.post("/get_reward", json={"query": queries, "prompts": prompts}).json()
        assert answer["rewards"] == [-1.0, 0.0, 1.0]
        assert answer["extra_logs"]["not_scored"] == [0.0, 1.0, 0.0]
        client.post("/get_reward", json={"query": queries, "prompts": prompts})
        refused = client.post("/score", json={"examples": [{"prompt": "p", "completion": "abc"}]})
        assert refused.status_code == 422
        assert "1 of 1 examples cannot be scored" in refused.json()["detail"]
    told = [record.message for record in caplog.records if "/get_reward" in record.message]
    assert len(told) == 1  # once, however often it happens
    assert told[0].startswith("/get_reward gives 0.0 where there is no score: 1 of 1 examples cannot be scored")


# --- wrong requests ------------------------------------------------------------------------------------------

FORM = ". /docs shows the form."


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"examples": [', "the body is not JSON: Expecting value at character 14" + FORM),
        (
            "[]",
            "the body is missing or no JSON object. Send one, with the header Content-Type: application/json" + FORM,
        ),
        ("", "the body is missing or no JSON object. Send one, with the header Content-Type: application/json" + FORM),
        ("{}", "the field examples is missing" + FORM),
        ('{"examples": 3}', "examples is int 3; a list is needed" + FORM),
        ('{"examples": [3]}', "examples[0] is int 3; an object is needed" + FORM),
        ('{"examples": [], "model": "x"}', "there is no field model here" + FORM),
        (
            '{"examples": [{"prompt": "p", "completion": "c"}, {"prompt": "p"}]}',
            "examples[1]: the field completion is missing; the row has prompt",
        ),
        (
            '{"examples": [{"prompt": "p", "completion": ["c"]}]}',
            "examples[0]: completion is list ['c']; text is needed",
        ),
        (
            '{"examples": [{"prompt": "p", "completion": "c", "query_type": "open"}]}',
            "examples[0]: query_type is str 'open'; allowed: open_ended, closed_ended, OPENENDED, CONSTRAINED, or none",
        ),
        (
            '{"examples": [{"prompt": [{"role": "boss", "content": "x"}], "completion": "c"}]}',
            "examples[0]: the role of message 1 of prompt is 'boss'; allowed: system, user, assistant, tool",
        ),
        (
            '{"examples": [{"prompt": "p", "completion": "a \\ud800 b"}]}',
            "examples[0]: a text has '\\ud800', half of a character; whole Unicode characters are needed",
        ),
    ],
)
def test_malformed_scores(lexical: httpx.Client, body: str, detail: str) -> None:
    answer = lexical.post("/score", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (422, {"detail": detail})


def test_malformed_get_rewards(lexical: httpx.Client) -> None:
    def detail(**body: Any) -> str:
        answer = lexical.post("/get_reward", json=body)
        assert answer.status_code == 422
        return str(answer.json()["detail"])

    assert detail(query=["a"], prompts=["a", "b"]) == (
        "query, prompts and labels have 1, 2 and 1 entries; each completion needs one of each."
    )
    assert detail(query=[1], prompts=["a"]) == "query[0] is int 1; text is needed" + FORM
    assert detail(prompts=["a"]) == "the field query is missing" + FORM


def test_a_body_without_its_content_type_and_one_too_deep(lexical: httpx.Client) -> None:
    assert "Content-Type: application/json" in lexical.post("/score", content='{"examples": []}').json()["detail"]
    deep = '{"examples": [{"prompt": "p", "completion": "c", "x": ' + "[" * 200_000 + "]" * 200_000 + "}]}"
    answer = lexical.post("/score", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("the body cannot be read as JSON: it is no UTF-8 text, or is nested")
    assert (
        lexical.post("/score", content=b'{"a": "\xff"}', headers={"Content-Type": "application/json"}).status_code
        == 400
    )
    assert lexical.post("/score", json={"examples": []}).status_code == 200


def test_a_column_that_the_reward_needs_and_no_example_has(serving: Serving) -> None:
    with serving(reward(BRANCH)) as client:
        answer = client.post("/score", json={"examples": [{"prompt": "p", "completion": "c", "query_type": None}]})
        assert answer.status_code == 422
        assert answer.json()["detail"] == (
            "the reward branch(open_ended=LI * RP, closed_ended=AR) needs reference, and the examples have only prompt, "
            "completion, query_type. Add what is missing, or serve a reward that does without."
        )


def test_unknown_paths_say_what_there_is(lexical: httpx.Client) -> None:
    for method, path, status in (("GET", "/", 404), ("GET", "/score", 405), ("POST", "/health", 405)):
        answer = lexical.request(method, path)
        assert answer.status_code == status
        assert answer.json()["detail"].startswith(f"there is no {method} {path}. There are POST /score and /get_reward")
    assert metric(lexical, 'proxygold_requests_total{path="other",status="404"}') >= 1


def test_a_failure_that_was_not_foreseen_is_500_in_words(serving: Serving) -> None:
    good = {"examples": [{"prompt": "p", "completion": "c"}]}
    broken = reward("LI")
    broken.score = lambda examples: 1 / 0  # type: ignore[method-assign,assignment]
    with serving(broken) as client:
        answer = client.post("/score", json=good)
        assert answer.status_code == 500
        assert answer.json()["detail"].startswith("the reward failed with ZeroDivisionError.")
        assert metric(client, 'proxygold_requests_total{path="/score",status="500"}') == 1


# --- limits --------------------------------------------------------------------------------------------------


def test_too_many_examples_and_too_large_a_body(serving: Serving) -> None:
    with serving(reward("LI"), max_examples=2, max_body_bytes=1_000) as client:
        answer = client.post("/score", json={"examples": [{"prompt": "p", "completion": "c"}] * 3})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("the request has 3 examples; at most 2 are allowed. Send fewer")
        assert client.post("/get_reward", json={"query": ["a"] * 3, "prompts": ["a"] * 3}).status_code == 422
        large = json.dumps({"examples": [{"prompt": "p", "completion": "c" * 1_000}]}).encode()
        answer = client.post("/score", content=large, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith(f"the request has {len(large):,} bytes; at most 1,000 are allowed.")

        def pieces() -> Iterator[bytes]:  # sent without saying how much it will be
            yield from (large[start : start + 100] for start in range(0, len(large), 100))

        answer = client.post("/score", content=pieces(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith("the request has more than 1,000 bytes;")
        assert client.post("/score", json={"examples": [{"prompt": "p", "completion": "c"}]}).status_code == 200


def test_a_full_queue_is_503_and_says_when_to_come_back(serving: Serving) -> None:
    entered, leave = threading.Semaphore(0), threading.Event()

    @feature("waits_for_the_test")
    def waits(example: Example) -> float:
        entered.release()
        leave.wait(30)
        return 1.0

    body = {"examples": [{"prompt": "p", "completion": "c"}]}
    with serving(reward("waits_for_the_test"), max_queue=1) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/score", json=body)
        assert entered.acquire(timeout=30)
        second = pool.submit(client.post, "/score", json=body)
        deadline = time.monotonic() + 30
        while metric(client, "proxygold_queue_rows") < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        third = client.post("/score", json=body)
        assert (third.status_code, third.headers["retry-after"]) == (503, "1")
        assert third.json()["detail"].startswith("1 examples wait to be scored, and at most 1 may")
        leave.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]


# --- keys ----------------------------------------------------------------------------------------------------


def test_every_path_but_health_wants_the_key(serving: Serving) -> None:
    body = {"examples": []}
    with serving(reward("LI"), api_key="s3cret") as client:
        assert client.get("/health").status_code == 200
        for path in ("/reward", "/metrics", "/docs", "/openapi.json", "/nowhere"):
            assert client.get(path).status_code == 401
        refused = client.post("/score", json=body)
        assert refused.status_code == 401
        assert "Authorization: Bearer KEY" in refused.json()["detail"]
        assert refused.headers["www-authenticate"] == 'Bearer realm="proxygold", Basic realm="proxygold"'

        def status(authorization: str) -> int:
            return client.post("/score", json=body, headers={"Authorization": authorization}).status_code

        assert status("Bearer s3cret") == status("bearer  s3cret") == 200
        for wrong in ("Bearer s3cre", "Bearer s3crets", "Bearer", "s3cret", "Digest s3cret", "Basic s3cret", "Basic ?"):
            assert status(wrong) == 401
        # As OpenRLHF sends it, from http://any:s3cret@host:port/get_reward.
        assert client.post("/score", json=body, auth=("any", "s3cret")).status_code == 200
        assert client.post("/score", json=body, auth=("s3cret", "any")).status_code == 401


# --- what it says of itself ----------------------------------------------------------------------------------


def test_the_card_health_and_the_openapi_page(lexical: httpx.Client) -> None:
    made = reward("LI * RP")
    card = lexical.get("/reward").json()
    assert (card["reward"], card["reward_id"], card["name"]) == ("LI * RP", made.reward_id, made.__name__)
    assert card["leaves"] == ["LI", "RP"]
    assert card["limits"] == {"examples": 1024, "body_bytes": 16 * 2**20}
    assert lexical.get("/health").json() == {"status": "ready"}
    assert lexical.get("/docs").status_code == 200
    page = lexical.get("/openapi.json").json()
    assert set(page["paths"]) == {"/score", "/get_reward", "/reward", "/health", "/metrics"}
    # The examples on the page are requests that are answered.
    for path, name in (("/score", "ScoreRequest"), ("/get_reward", "GetRewardRequest")):
        (example,) = page["components"]["schemas"][name]["examples"]
        assert lexical.post(path, json=example).status_code == 200
    described = page["components"]["schemas"]["ScoreRequest"]["properties"]["examples"]["items"]
    assert described["required"] == ["prompt", "completion"]


def test_warming_up_loads_models_and_refuses_what_cannot_score() -> None:
    with pytest.raises(RewardError, match="has not been measured"):
        warm_up(reward("match(AR, LI)"))

    @feature("wants_a_column")
    def wants(example: Example) -> float:
        return float(example.columns["depth"])

    warm_up(reward("wants_a_column", on_error="raise"))  # its data may well have that column


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fallback": math.nan}, "the fallback is nan; give a finite number"),
        ({"max_examples": 0}, "at least 1 example and 1 byte"),
        ({"api_key": ""}, "the key is empty"),
        ({"api_key": "a b"}, "the key is empty, or has white space"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerSettings(**settings)


def test_a_place_that_is_taken_or_unknown() -> None:
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}: .*Give another --port"):
            bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match="cannot listen on no.such.host.invalid port 1"):
        bind("no.such.host.invalid", 1)
