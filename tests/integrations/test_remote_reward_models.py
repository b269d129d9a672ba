"""A reward that `proxygold serve` serves, as somebody else's reward model: gold, or a part of a reward line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from proxygold import Example, feature, reward
from proxygold.errors import ModelError
from proxygold.models.reward_models import check_reward_model, load_reward_model, reward_model_identity
from proxygold.models.reward_settings import reward_model_settings

Serving = Callable[..., AbstractContextManager[httpx.Client]]

EXAMPLES = [
    Example("Name a colour.", "Green is one, and so is blue."),
    Example("Name a colour.", ""),
    Example([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "Who?"}], "Me, me, me, me."),
    Example("What is 2 + 2?", "It is 4.", reference="4", query_type="closed_ended"),
]  # fmt: skip


def remote(client: httpx.Client, **settings: Any) -> Any:
    return load_reward_model("", url=f"{client.base_url}/get_reward", **settings)


@pytest.mark.parametrize("template", ["none", "chatml", "hh", "vicuna", "ultrarm"])
def test_a_served_reward_gives_what_it_gives_here(template: str, serving: Serving) -> None:
    made = reward("LI + RP")
    with serving(made) as client:
        scores, reasons = remote(client, template=template, batch_size=3).score(EXAMPLES)
    np.testing.assert_allclose(scores, made.score(EXAMPLES).total, rtol=1e-12)
    assert reasons == (None,) * 4


def test_what_is_served_sees_prompt_reference_and_query_type(serving: Serving) -> None:
    feature("seen")(
        lambda example: (
            len(repr(example.prompt)) + 1000 * len(example.reference or "") + (example.query_type is not None)
        )
    )
    made = reward("seen")
    with serving(made) as client:
        scores, _ = remote(client, template="chatml").score(EXAMPLES)
    np.testing.assert_allclose(scores, made.score(EXAMPLES).total)


def test_what_has_no_score_there_has_none_here(serving: Serving) -> None:
    made = reward("branch(open_ended=LI, closed_ended=RP)")
    with serving(made) as client:
        scores, reasons = remote(client, template="none").score(EXAMPLES)
    assert np.isnan(scores[:3]).all()
    assert all("has no score for it" in str(reason) for reason in reasons[:3])
    assert scores[3] == 1.0  # of three different words every trigram is new


def test_another_reward_there_is_another_identity(serving: Serving) -> None:
    identities = []
    for line in ("LI", "LI", "RP"):
        with serving(reward(line)) as client:
            settings = reward_model_settings(url=f"{client.base_url}/get_reward", template="none")
            check_reward_model(settings)
            identities.append(reward_model_identity(settings))
    assert identities[0] == identities[1] != identities[2]


def test_the_servers_own_score_is_another_than_vllms(serving: Serving) -> None:
    with serving(reward("LI")) as client:
        settings = reward_model_settings(url=f"{client.base_url}/score")
        with pytest.raises(
            ModelError, match=r"does not score: .* a proxygold server, whose reward is at /get_reward\."
        ):
            check_reward_model(settings)


def test_in_a_line_with_a_key(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, tiny_models: tuple[Path, Path]
) -> None:
    gold = str(tiny_models[1])
    served = reward(f"RM({gold!r})")
    with serving(served, api_key="sesame") as client:
        line = f"LI * RM(url='{client.base_url}/get_reward', template='chat', tokenizer={gold!r})"
        monkeypatch.setenv("PROXYGOLD_API_KEY", "sesame")
        scored = reward(line).score(EXAMPLES)
    np.testing.assert_allclose(scored.total, reward(f"LI * RM({gold!r})").score(EXAMPLES).total, rtol=1e-5)
