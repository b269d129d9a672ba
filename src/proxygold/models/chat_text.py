"""A conversation as the text that a model's own chat template makes of it, where only its tokenizer is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxygold.errors import DataError, ModelError
from proxygold.models.reward_inputs import as_messages
from proxygold.records import Prompt

if TYPE_CHECKING:
    from proxygold.models.remote_forms import Write

__all__ = ["chat_writer"]


def chat_writer(name: str) -> Write:
    """What writes a prompt and its completion: all before the answer, and the answer with what closes it.

    `name` is a hub id or directory with a tokenizer. Raises ModelError when there is none, or it has no chat template.
    """
    from jinja2 import TemplateError

    from proxygold.models.bundled import resolve_model
    from proxygold.models.classifiers import load_reward_tokenizer

    tokenizer = load_reward_tokenizer(resolve_model(name), name)
    if not tokenizer.chat_template:
        raise ModelError(
            f"template is chat, and the tokenizer of {name!r} has no chat template. Name a format instead."
        )

    def write(prompt: Prompt, completion: str) -> tuple[str, str]:
        conversation = [*as_messages(prompt), {"role": "assistant", "content": completion}]
        try:
            text: str = tokenizer.apply_chat_template(conversation, tokenize=False)
        except TemplateError as error:
            raise DataError(f"the chat template of {name} refuses the conversation: {error}") from error
        place = text.rfind(completion)
        if place < 0:
            raise DataError(f"the chat template of {name} changes the completion {completion[:40]!r}")
        return text[:place], text[place:]

    return write
