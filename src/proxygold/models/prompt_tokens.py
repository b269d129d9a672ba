"""Prompts as a policy reads them: its template or chat template, its system prompt, its tokenizer.

Apart from the policy, because which prompts a model has room for can be told without its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import TemplateError

from proxygold.errors import ConfigError, DataError
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.policy_shape import check_shape
from proxygold.models.reward_inputs import as_messages
from proxygold.records import Message, Prompt
from proxygold.templates import TEMPLATES, PromptTemplate, get_template

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
        messages = self._with_system(prompt)
        with _told():
            if self._template is None:
                ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            else:
                ids = self.tokenizer(self._template.render(messages))["input_ids"]
        if not ids:
            raise DataError("a prompt has no token at all; give it some text or remove its row.")
        return list(ids)

    def encode_answered(self, prompt: Prompt, answer: str, ends: frozenset[int]) -> tuple[list[int], list[int]]:
        """Token ids of a prompt, exactly those of `encode`, and of its answer up to and with the token that ends it.

        `ends` are the model's end-of-sequence tokens. Where the template writes none after an answer, the tokenizer's
        is put there. Raises DataError as `encode` does, and for an answer that has such a token inside.
        """
        ids = self.encode(prompt)
        if ends.intersection(self._tokens(answer)):
            raise DataError("the answer has the text of an end-of-sequence token in it; remove it.")
        messages = self._with_system(prompt)
        with _told():
            head, written, after = self._written(messages, answer)
        rest = self._after(ids, head, written + after)
        end = next((place for place, token in enumerate(rest) if token in ends), None)
        if end is not None:
            return ids, rest[: end + 1]
        own = self.tokenizer.eos_token_id
        return ids, [*self._after(ids, head, written), min(ends) if own is None else own]

    def _written(self, messages: list[Message], answer: str) -> tuple[str, str, str]:
        """The text up to the answer, the answer as it is set after that, and what the template writes after it."""
        if self._template is not None:
            return self._template.render(messages), *self._template.render_answer(messages, answer)
        head = str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
        messages = [*messages, {"role": "assistant", "content": answer}]
        whole = str(self.tokenizer.apply_chat_template(messages, tokenize=False))
        lead, found, after = whole.removeprefix(head).partition(answer.strip())
        # Some templates write an answered prompt otherwise than one to be answered. What is sampled from is the latter.
        return (head, lead + found, after) if found and whole.startswith(head) else (head, answer, "")

    def _after(self, ids: list[int], head: str, text: str) -> list[int]:
        """The tokens of `text` right after the prompt `ids`, whose text is `head`."""
        whole = self._tokens(head + text, special=self._template is not None)  # a chat template writes them itself
        # Tokens may merge where the two meet. An answer is sampled after the prompt's own, so it is trained after them.
        return whole[len(ids) :] if whole[: len(ids)] == ids else self._tokens(text)

    def _with_system(self, prompt: Prompt) -> list[Message]:
        messages = as_messages(prompt)
        if self._system_prompt is not None and all(message["role"] != "system" for message in messages):
            messages = [{"role": "system", "content": self._system_prompt}, *messages]
        return messages

    def _tokens(self, text: str, *, special: bool = False) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def check_room(self, tokens: int, max_new_tokens: int) -> None:
        """Raises DataError when the model cannot read `tokens` of a prompt and write `max_new_tokens` more."""
        if self.context_length is not None and tokens + max_new_tokens > self.context_length:
            raise DataError(
                f"a prompt of {tokens} tokens and {max_new_tokens} new ones do not fit the model's "
                f"{self.context_length}. Leave that prompt out, or lower max_new_tokens."
            )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (ConfigError, TemplateError) as error:
        raise DataError(f"a prompt does not fit the prompt template: {error}") from error


def load_prompt_tokens(settings: PolicySettings) -> PromptTokens:
    """The tokenizer and the limits of a policy, without its weights.

    Raises ModelError when they cannot be read, ConfigError when `settings.shape` is not the model's.
    """
    from proxygold.models.causal_lm import load_config, load_tokenizer

    config = load_config(settings.model)
    check_shape(settings.shape, config, settings.model)
    return PromptTokens(settings, load_tokenizer(settings.model), config)


def _prompt_template(name: str, tokenizer: Any) -> PromptTemplate | None:
    """None stands for the tokenizer's own chat template."""
    if name != "chat":
        return get_template(name)
    if not tokenizer.chat_template:
        raise ConfigError(
            "policy.prompt_template is 'chat', but the model's tokenizer has no chat template. Name the format the "
            f"model was trained on ({', '.join(name for name in TEMPLATES if name != 'none')}), or 'none' for the bare "
            "prompt."
        )
    return None
