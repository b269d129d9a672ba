"""Prompts as token ids, without a policy's weights: what fits, and what does not."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from proxygold.errors import ConfigError, DataError
from proxygold.models.bundled import BUNDLED_POLICY
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.prompt_tokens import PromptTokens, load_prompt_tokens


class Config:
    def __init__(self, positions: int | None) -> None:
        self._text = SimpleNamespace(max_position_embeddings=positions)

    def get_text_config(self) -> Any:
        return self._text


def test_they_are_those_of_the_loaded_policy() -> None:
    settings = PolicySettings(model=BUNDLED_POLICY, system_prompt="Be brief.")
    apart, loaded = load_prompt_tokens(settings), Policy.load(settings).prompts
    assert apart.encode("Where is Oslo?") == loaded.encode("Where is Oslo?")
    assert apart.context_length == loaded.context_length == 8192


def test_room_is_counted_to_the_token(word_tokenizer: Any) -> None:
    settings = PolicySettings(model="tiny", prompt_template="none")
    tokens = PromptTokens(settings, word_tokenizer, Config(10))
    tokens.check_room(6, 4)
    with pytest.raises(DataError, match="7 tokens and 4 new ones do not fit the model's 10"):
        tokens.check_room(7, 4)
    PromptTokens(settings, word_tokenizer, Config(None)).check_room(10**6, 1)  # a model that does not say


def test_a_conversation_that_the_template_cannot_write_is_bad_data(word_tokenizer: Any) -> None:
    tokens = PromptTokens(PolicySettings(model="tiny", prompt_template="vicuna"), word_tokenizer, Config(10))
    with pytest.raises(DataError, match="does not fit the prompt template: .*role 'tool'"):
        tokens.encode([{"role": "tool", "content": "w1"}])
    own = copy.deepcopy(word_tokenizer)
    own.chat_template = "{{ raise_exception('System role not supported') }}"
    chat = PromptTokens(PolicySettings(model="tiny"), own, Config(10))
    with pytest.raises(DataError, match="System role not supported"):
        chat.encode("w1")


def test_a_chat_template_that_is_not_there(word_tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="has no chat template. Name the format"):
        PromptTokens(PolicySettings(model="tiny"), word_tokenizer, Config(10))
