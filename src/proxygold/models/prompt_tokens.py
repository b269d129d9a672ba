"""Prompts as a policy reads them: its template or chat template, its system prompt, its tokenizer.

Apart from the policy, because which prompts a model has room for can be told without its weights.
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from proxygold.errors import ConfigError, DataError
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.reward_inputs import as_messages
from proxygold.records import Prompt
from proxygold.templates import PromptTemplate, get_template

__all__ = ["PromptTokens", "load_prompt_tokens"]


class PromptTokens:
    """Turns prompts into token ids.

    `context_length`: the most tokens that prompt and completion may have together, None when the model does not say.
    """

    def __init__(self, settings: PolicySettings, tokenizer: Any, config: Any) -> None:
        """Raises ConfigError when the settings ask for a chat template and the tokenizer has none."""
        self.tokenizer = tokenizer
        self.context_length: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        self._system_prompt = settings.system_prompt
        self._template = _prompt_template(settings.prompt_template, tokenizer)

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt as the model reads it, up to its answer.

        Raises DataError when there are none or the template cannot write this conversation.
        """
        messages = as_messages(prompt)
        if self._system_prompt is not None and all(message["role"] != "system" for message in messages):
            messages = [{"role": "system", "content": self._system_prompt}, *messages]
        try:
            if self._template is None:
                ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            else:
                ids = self.tokenizer(self._template.render(messages))["input_ids"]
        except (ConfigError, TemplateError) as error:
            raise DataError(f"a prompt does not fit the prompt template: {error}") from error
        if not ids:
            raise DataError("a prompt has no token at all; give it some text or remove its row.")
        return list(ids)

    def check_room(self, tokens: int, max_new_tokens: int) -> None:
        """Raises DataError when the model cannot read `tokens` of a prompt and write `max_new_tokens` more."""
        if self.context_length is not None and tokens + max_new_tokens > self.context_length:
            raise DataError(
                f"a prompt of {tokens} tokens and {max_new_tokens} new ones do not fit the model's "
                f"{self.context_length}. Leave that prompt out, or lower max_new_tokens."
            )


def load_prompt_tokens(settings: PolicySettings) -> PromptTokens:
    """The tokenizer and the limits of a policy, without its weights. Raises ModelError when they cannot be read."""
    from proxygold.models.causal_lm import load_config, load_tokenizer

    return PromptTokens(settings, load_tokenizer(settings.model), load_config(settings.model))


def _prompt_template(name: str, tokenizer: Any) -> PromptTemplate | None:
    """None stands for the tokenizer's own chat template."""
    if name != "chat":
        return get_template(name)
    if not tokenizer.chat_template:
        raise ConfigError(
            "policy.prompt_template is 'chat', but the model's tokenizer has no chat template. Name the format the "
            "model was trained on: 'alpaca', 'vicuna', 'hh', 'chatml', or 'none' for the bare prompt."
        )
    return None
