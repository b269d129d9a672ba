"""A whole conversation as the text that a reward model reads, in a named format.

Every prompt template is one of them, with what closes the answer: a reward is read at the last token, so a newline
too many is another reward. Starling-RM-34B is `chatml` up to `<|im_end|>`; UltraRM-13B is `ultrarm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from proxygold.errors import ConfigError
from proxygold.records import Prompt
from proxygold.templates import TEMPLATES, get_template, message_text

__all__ = ["as_ultrarm", "check_template", "conversation_text"]

# What stands after an answer in the formats that close one.
_ENDS: Mapping[str, str] = {
    "chatml": "<|im_end|>",
    "vicuna": "</s>",
    "llama-2": " </s>",
    "zephyr": "</s>",
    "tulu": "</s>",
}

ULTRARM = "ultrarm"
_SPEAKERS = {"system": "", "user": "Human: ", "assistant": "Assistant: "}


def conversation_text(template: str, prompt: Prompt, completion: str) -> tuple[str, str]:
    r"""All that comes before the answer, and the answer with what closes it; together what the model reads.

    Raises ConfigError for a template that does not exist, or a conversation that it cannot write.

    >>> conversation_text("chatml", "Hi", "Hello!")
    ('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n', 'Hello!<|im_end|>')
    >>> conversation_text("ultrarm", "Hi", "Hello!")
    ('Human: Hi\n\nAssistant: ', 'Hello!')
    """
    check_template(template)
    if template == ULTRARM:
        return as_ultrarm(prompt, "\n\n"), completion
    writer = get_template(template)
    before = writer.render(prompt)  # first, for it checks the conversation
    answer, _ = writer.render_answer(prompt, completion)
    lead = answer.removesuffix(completion) if completion else answer
    return before + lead, completion + _ENDS.get(template, "")


def as_ultrarm(prompt: Prompt, separator: str) -> str:
    """A conversation up to the answer as UltraRM's model card writes it, turns kept apart by `separator`."""
    # The `hh` template checks the roles and that the last word is the user's.
    get_template("hh").render(prompt)
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    turns = [_SPEAKERS[message["role"]] + message_text(message) for message in messages]
    return separator.join([*turns, _SPEAKERS["assistant"]])


def check_template(name: str) -> None:
    """Raises ConfigError unless `name` is a format of this module."""
    names = [*TEMPLATES, ULTRARM]
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"there is no template called {name!r} for reward models; allowed: chat, {', '.join(names)}.{hint}"
        )
