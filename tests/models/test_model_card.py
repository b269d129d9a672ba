"""What a model card says that a model was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxygold.models.model_card import stated_datasets
from proxygold.models.reward_models import find_reward_model


@pytest.mark.parametrize(
    ("card", "stated"),
    [
        ("---\ndatasets:\n- a/b\n- c\nlicense: mit\n---\n# Model\n", ("a/b", "c")),
        ("---\ndatasets: a/b\n---\n", ("a/b",)),
        ("---\nlicense: mit\n---\n", None),
        ("---\ndatasets: []\n---\n", None),
        ("---\ndatasets: [a\n---\n", None),  # no YAML
        ("---\n- a\n---\n", None),
        ("---\ndatasets: [a/b]\n", None),  # the head does not end
        ("# Model\n\ndatasets: [a/b]\n", None),
        ("", None),
    ],
)
def test_a_card_beside_a_model(tmp_path: Path, card: str, stated: tuple[str, ...] | None) -> None:
    (tmp_path / "README.md").write_text(card)
    assert stated_datasets(str(tmp_path)) == stated


def test_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stated_datasets(str(tmp_path)) is None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert stated_datasets("nobody/nothing") is None
    assert stated_datasets("no hub id at all") is None


def test_gold_mini_states_its_data() -> None:
    assert stated_datasets(find_reward_model("gold-mini")) == ("Anthropic/hh-rlhf", "OpenAssistant/oasst1")
