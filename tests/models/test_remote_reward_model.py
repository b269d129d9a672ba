"""Reward models behind an endpoint: real requests to a real server on loopback.

The server answers as vLLM does (its request and response classes of 2026, checked field by field), and scores with a
tiny classifier through transformers alone. What is asked for over HTTP must be what the same model gives here.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

from proxygold.errors import ModelError
from proxygold.models import remote_reward_model
from proxygold.models.reward_models import (
    check_reward_model,
    load_reward_model,
    open_reward_model,
    reward_model_identity,
)
from proxygold.models.reward_settings import reward_model_settings
from proxygold.records import Example

CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
EXAMPLES = [
    Example("Name a colour.", "Green."),
    Example("Name a colour, and say why.", "Blue, since " + "so " * 20),
    Example([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "Who?"}], "Me."),
    Example("Why?", ""),
    Example("Who?", "Nobody that I know of."),
]  # fmt: skip

COMMON = {"model", "use_activation", "truncate_prompt_tokens", "truncation_side"}
FIELDS = {
    "/classify": [COMMON | {"input", "add_special_tokens"}, COMMON | {"messages"}],
    "/pooling": [COMMON | {"input", "add_special_tokens"}, COMMON | {"messages"}],
    "/score": [{"model", "use_activation", "truncate_prompt_tokens", "text_1", "text_2"}],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A classifier over bytes, with a chat template that ends with a newline as Yi's does."""
    directory = tmp_path_factory.mktemp("served")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")  # fmt: skip
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), num_labels=1, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=256, initializer_range=0.3, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(directory)
    return directory


class Server:
    """What vLLM does with a request, one text at a time. `trouble` may answer in its place: (status, body) or None."""

    def __init__(self, directory):
        self.name = "rm"
        self.requests = []
        self.trouble = lambda path, body: None
        self.squash = self.tokenwise = False
        self.under_way = self.most = 0
        self._lock = threading.Lock()
        self._model = LlamaForSequenceClassification.from_pretrained(directory).eval()
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                models = {"object": "list", "data": [{"id": outer.name, "root": "/weights/rm", "object": "model"}]}
                self._give(*((200, models) if self.path == "/v1/models" else (404, {"detail": "Not Found"})))

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.requests.append((self.path, body, self.headers.get("Authorization")))
                    outer.under_way += 1
                    outer.most = max(outer.most, outer.under_way)
                try:
                    status, answer, *headers = outer.trouble(self.path, body) or (200, outer.answer(self.path, body))
                finally:
                    with outer._lock:
                        outer.under_way -= 1
                self._give(status, answer, *headers)

            def _give(self, status, answer, headers=()):
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path, body):
        assert any(set(body) <= fields for fields in FIELDS[path]), (path, set(body))
        assert body["model"] == self.name
        limit = body["truncate_prompt_tokens"]
        if "messages" in body:
            ids = [self._tokenizer.apply_chat_template(body["messages"], return_dict=False)]
        elif "input" in body:
            special = body["add_special_tokens"]
            ids = [self._tokenizer(text, add_special_tokens=special)["input_ids"] for text in body["input"]]
        else:
            pairs = zip(body["text_1"], body["text_2"], strict=True)
            ids = [self._tokenizer(first, second)["input_ids"] for first, second in pairs]
        with torch.no_grad():
            states = [self._model.model(torch.tensor([row if limit == -1 else row[-limit:]])) for row in ids]
            scores = [self._model.score(state.last_hidden_state)[0, :, 0].tolist() for state in states]
        if body["use_activation"] is not False or self.squash:
            scores = [[1.0] * len(row) for row in scores]  # a softmax over one class
        return {"id": "x", "object": "list", "model": self.name, "data": [self._row(path, *item) for item in enumerate(scores)][::-1]}  # fmt: skip

    def _row(self, path, index, scores):
        last = scores[-1]
        if path == "/classify":
            return {"index": index, "label": "LABEL_0", "probs": [last], "num_classes": 1}
        if path == "/score":
            return {"index": index, "object": "score", "score": last}
        return {"index": index, "object": "pooling", "data": [[x] for x in scores] if self.tokenwise else [last]}


@pytest.fixture
def server(directory, monkeypatch):
    monkeypatch.setattr(remote_reward_model, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(remote_reward_model, "_LONGEST_PAUSE", 0.05)
    server = Server(directory)
    yield server
    server.close()


def here(directory, **settings):
    return load_reward_model(str(directory), device="cpu", dtype="float32", **settings).score(EXAMPLES)[0]


@pytest.mark.parametrize("form", ["classify", "pooling"])
@pytest.mark.parametrize(
    "settings", [{}, {"template": "chatml"}, {"template": "ultrarm", "batch_size": 2}, {"max_length": 12}]
)
def test_what_a_vllm_serves_scores_as_it_does_here(form, settings, server, directory):
    expected = here(directory, **{name: value for name, value in settings.items() if name != "batch_size"})
    model = load_reward_model("rm", url=f"{server.url}/{form}", **settings)
    seen = []
    scores, reasons = model.score(EXAMPLES, progress=seen.append)
    assert scores == pytest.approx(expected, abs=1e-4)
    assert np.ptp(scores) > 0.05
    assert reasons == (None,) * 5
    assert (seen[-1], seen) == (5, sorted(seen))
    # Conversations go one by one, for vLLM takes one a request; texts in requests of batch_size.
    sizes = sorted(len(body.get("input", [0])) for _, body, _ in server.requests)
    assert sizes == {None: [1] * 5, "chatml": [5], "ultrarm": [1, 2, 2]}[settings.get("template")]


def test_the_chat_template_may_be_applied_here(server, directory):
    model = load_reward_model("rm", url=f"{server.url}/classify", template="chat", tokenizer=str(directory))
    assert model.score(EXAMPLES)[0] == pytest.approx(here(directory), abs=1e-4)
    [(_, body, _)] = server.requests
    assert body["add_special_tokens"] is False
    assert body["input"][0] == "<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\nGreen.<|im_end|>\n"


def test_a_pair_is_scored_by_score(server, directory):
    model = load_reward_model("rm", url=f"{server.url}/score", batch_size=3)
    scores, _ = model.score(EXAMPLES)
    assert scores == pytest.approx(here(directory, kind="deberta-pair"), abs=1e-4)
    asked = [text for _, body, _ in server.requests for text in body["text_1"]]
    assert sorted(asked) == sorted(["Name a colour.", EXAMPLES[1].prompt, "Hi\n\nYo\n\nWho?", "Why?", "Who?"])


def test_of_one_number_a_token_the_last_counts(server, directory):
    server.tokenwise = True
    model = load_reward_model("rm", url=f"{server.url}/pooling", template="chatml")
    assert model.score(EXAMPLES)[0] == pytest.approx(here(directory, template="chatml"), abs=1e-4)


def test_a_model_without_a_name_is_asked_for_its_name(server, directory):
    model = open_reward_model(reward_model_settings(url=f"{server.url}/classify", template="chatml"))
    assert model.score(EXAMPLES)[0] == pytest.approx(here(directory, template="chatml"), abs=1e-4)
    assert model.name == f"{server.url}/classify"


def test_requests_are_under_way_together(server):
    release = threading.Event()

    def wait(path, body):
        if server.under_way >= 3:
            release.set()
        release.wait(10)

    server.trouble = wait
    load_reward_model("rm", url=f"{server.url}/classify", batch_size=3).score(EXAMPLES)
    assert release.is_set()
    assert server.most == 3  # and no more than were asked for


def test_no_examples_ask_for_nothing(server):
    scores, reasons = load_reward_model("rm", url=f"{server.url}/classify").score([])
    assert (scores.shape, reasons, server.requests) == ((0,), (), [])


def test_the_key_goes_along(server, monkeypatch):
    monkeypatch.setenv("PROXYGOLD_API_KEY", "sesame")
    load_reward_model("rm", url=f"{server.url}/classify").score(EXAMPLES[:1])
    assert server.requests[-1][2] == "Bearer sesame"


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_what_will_pass_is_tried_again(server, directory):
    answers = iter([(503, {"detail": "busy"}, [("Retry-After", "0")]), (429, {"error": {"message": "slower"}}), (502, b"<html>")])  # fmt: skip
    server.trouble = lambda path, body: next(answers, None)
    model = load_reward_model("rm", url=f"{server.url}/classify", template="chatml")
    assert model.score(EXAMPLES)[0] == pytest.approx(here(directory, template="chatml"), abs=1e-4)
    assert len(server.requests) == 4


def test_what_does_not_pass_is_an_error_with_the_servers_words(server):
    server.trouble = lambda path, body: (503, {"error": {"message": "the model is loading"}})
    with pytest.raises(ModelError, match=r"answers 503: the model is loading\. Tried 6 times. Is the server running"):
        load_reward_model("rm", url=f"{server.url}/classify").score(EXAMPLES[:1])
    assert len(server.requests) == 6


def test_nobody_there(monkeypatch):
    monkeypatch.setattr(remote_reward_model, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(remote_reward_model, "_LONGEST_PAUSE", 0.01)
    settings = reward_model_settings(url="http://127.0.0.1:9/classify", template="hh")
    for act in (check_reward_model, reward_model_identity):
        with pytest.raises(ModelError, match=r"127.0.0.1:9/classify cannot be reached: .*Tried 6 times"):
            act(settings)


def test_an_example_that_is_refused_spoils_no_other(server, directory):
    def refuse(path, body):
        if any("Blue" in text for text in body["input"]):
            return 400, {"object": "error", "message": "This model's maximum context length is 8 tokens."}
        return None

    server.trouble = refuse
    scores, reasons = load_reward_model("rm", url=f"{server.url}/classify", template="chatml").score(EXAMPLES)
    expected = here(directory, template="chatml")
    assert np.isnan(scores[1])
    assert "refuses it: This model's maximum context length is 8 tokens" in reasons[1]
    rest = [0, 2, 3, 4]
    assert scores[rest] == pytest.approx(expected[rest], abs=1e-4)
    assert [reasons[row] for row in rest] == [None] * 4


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (401, {"error": "Unauthorized"}, "answers 401: Unauthorized. Set PROXYGOLD_API_KEY to its key"),
        (
            404,
            {"error": {"message": "The model `rm` does not exist."}},
            "answers 404: The model `rm` does not exist. Ch",
        ),
        (200, b"<html>hello</html>", "what answers at .* is no reward model: '<html>hello"),
        (200, [1, 2], "is no reward model"),
        (200, {"object": "error"}, r"answered \{\"object\": \"error\"\}, where data of 1 examples is needed"),
        (200, {"data": []}, "answered 0 entries, where data of 1 examples is needed"),
        (200, {"data": [{"index": 0, "probs": [0.2, 0.8]}]}, "answered 2 numbers .* a classifier of several classes"),
        (200, {"data": [{"index": 0, "label": "x"}]}, "where probs is needed"),
        (200, {"data": [{"index": 0, "probs": ["x"]}]}, "where a number is needed"),
        (200, {"data": [{"index": 0, "probs": [True]}]}, "where a number is needed"),
    ],
)
def test_what_is_no_score_says_what_came(status, answer, message, server):
    server.trouble = lambda path, body: (status, answer)
    with pytest.raises(ModelError, match=message):
        load_reward_model("rm", url=f"{server.url}/classify").score(EXAMPLES[:1])


@pytest.mark.parametrize("value", [b"null", b"NaN", b"Infinity"])
def test_a_score_that_is_no_number_is_nan_with_the_reason(value, server):
    server.trouble = lambda path, body: (200, b'{"data": [{"index": 0, "probs": [' + value + b"]}]}")
    scores, reasons = load_reward_model("rm", url=f"{server.url}/classify").score(EXAMPLES[:1])
    assert np.isnan(scores[0])
    assert "has no score for it" in reasons[0]


def test_a_template_that_cannot_write_an_example_is_that_examples_reason(server):
    odd = Example([{"role": "tool", "content": "42"}], "So it is 42.")
    scores, reasons = load_reward_model("rm", url=f"{server.url}/classify", template="hh").score([odd, EXAMPLES[0]])
    assert np.isnan(scores[0])
    assert "role 'tool'" in reasons[0]
    assert np.isfinite(scores[1])


def test_an_error_ends_the_scoring_at_once(server):
    """Not after all that is still waiting has failed too."""
    server.trouble = lambda path, body: (403, {"detail": "no"})
    start = time.monotonic()
    with pytest.raises(ModelError, match="answers 403"):
        load_reward_model("rm", url=f"{server.url}/classify", batch_size=1).score(EXAMPLES * 50)
    assert time.monotonic() - start < 5
    assert len(server.requests) < 100


# --- what a study asks before it begins -------------------------------------------------------------------------------


def test_a_check_scores(server):
    settings = reward_model_settings(model="rm", url=f"{server.url}/classify")
    check_reward_model(settings)
    server.trouble = lambda path, body: (422, {"detail": "messages: not permitted"})
    with pytest.raises(ModelError, match="does not score: .*refuses it: messages: not permitted"):
        check_reward_model(settings)


def test_a_check_finds_scores_that_were_squashed(server):
    server.squash = True
    with pytest.raises(
        ModelError, match=r"gives 1.0 to two answers of which one is nonsense. .*knows no use_activation"
    ):
        check_reward_model(reward_model_settings(model="rm", url=f"{server.url}/classify"))


def test_the_identity_is_what_is_served_wherever_it_is(server, directory):
    settings = {"model": "rm", "template": "chatml"}

    def identity(**changes):
        return reward_model_identity(reward_model_settings(**settings | {"url": f"{server.url}/classify"} | changes))

    first = identity()
    other = Server(directory)
    try:
        assert identity(url=f"{other.url}/classify") == first
        other.name = "another"
        assert identity(url=f"{other.url}/classify") != first
    finally:
        other.close()
    assert identity(template="hh") != first
    assert identity(max_length=7) != first
    assert identity(batch_size=2) == first
