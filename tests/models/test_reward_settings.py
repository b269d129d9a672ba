"""Settings of a reward model: what fits together, and what every mistake says."""

import pytest

from proxygold.errors import ConfigError
from proxygold.models.reward_settings import RewardModelSettings, reward_model_settings

URL = "http://127.0.0.1:8000/classify"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give model .*, or the url of a remote one"),
        ({"model": "  "}, "give model"),
        ({"model": "x", "kidn": "auto"}, "has no setting 'kidn'. It has: model, kind, template, tokenizer, url, max_l"),
        ({"model": "x", "kind": "llama"}, "kind is 'llama': input should be 'auto', 'classifier', 'deberta-pair'"),
        ({"model": "x", "kind": "remote"}, "needs its url, which ends with /classify, /pooling, /score or /get_reward"),
        ({"model": "x", "kind": "value-head"}, "give template, chatml for Starling-RM-34B, ultrarm for UltraRM-13B"),
        ({"model": "x", "template": "ultra"}, "no template called 'ultra' .* Did you mean 'ultrarm'"),
        ({"model": "x", "kind": "t5-preference", "template": "hh"}, "a t5-preference model reads its own format"),
        ({"model": "x", "kind": "deberta-pair", "template": "chat"}, "a deberta-pair model reads its own format"),
        ({"model": "x", "max_length": 0}, "max_length is 0: input should be greater than 0"),
        ({"model": "x", "batch_size": 1.5}, "batch_size is 1.5: input should be a valid integer"),
        ({"model": "x", "dtype": "float16"}, "dtype is 'float16': input should be 'auto', 'float32' or 'bfloat16'"),
        ({"url": URL, "kind": "classifier"}, "with a url is remote, not classifier"),
        ({"url": "localhost:8000/classify"}, "url is no address. Give one such as http://127.0.0.1:8000/classify"),
        ({"url": "ftp://localhost/classify"}, "url is no address"),
        ({"url": "http://[::1/classify"}, "url is no address"),
        ({"url": "http://host:99999999/classify"}, "url is no address"),
        ({"url": "http://localhost:8000/clas sify"}, "url is no address"),
        ({"url": "http://any:secret@host/get_reward"}, "holds a password, .* put it into PROXYGOLD_API_KEY"),
        (
            {"url": "http://localhost:8000"},
            "url must end with /classify, /pooling, /score or /get_reward, and is http://localhost:8000",
        ),
        ({"url": "http://localhost:8000/v1/chat/completions"}, "url must end with .*, and is http.*completions"),
        ({"url": "http://localhost/score", "template": "hh"}, "/score takes a pair of texts and no template"),
        ({"url": "http://localhost/get_reward"}, "/get_reward takes finished text: give template"),
        ({"url": URL, "template": "chat"}, "template chat is the tokenizer's: give model or tokenizer"),
        ({"url": URL, "tokenizer": "x"}, "has its own tokenizer"),
        ({"url": URL, "dtype": "bfloat16"}, "dtype is the endpoint's own matter"),
        ({"url": URL, "device": "cpu"}, "device is the endpoint's own matter"),
        ({"url": "http://h/get_reward", "template": "hh", "max_length": 9}, "max_length is the endpoint's own matter"),
    ],
)
def test_what_does_not_fit_says_what_would(given, message):
    with pytest.raises(ConfigError, match=message):
        reward_model_settings(**given)


def test_what_fits():
    remote = reward_model_settings(url="https://rm.example.org:8443/v1/score/", model="x")
    assert (remote.form, remote.is_remote, remote.name) == ("score", True, "x")
    nameless = reward_model_settings(url=URL)
    assert (nameless.form, nameless.name) == ("classify", URL)
    local = reward_model_settings(model="gold-mini")
    assert (local.form, local.is_remote, local.name) == ("", False, "gold-mini")
    assert local == RewardModelSettings(model="gold-mini", kind="auto", batch_size=16)
