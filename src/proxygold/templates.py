"""Named prompt templates: how a prompt is written out for a model, and the strings at which its answer has ended.

A template is always chosen by its name, never guessed from a model's name. For a chat template that comes
with a model's tokenizer, use the tokenizer; these are for models published with a fixed text format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from proxygold.errors import ConfigError
from proxygold.records import Message, Prompt
from proxygold.text import GENERIC_STOP_STRINGS

__all__ = ["ALPACA_INPUT", "TEMPLATES", "PromptTemplate", "get_template", "message_text", "user_text"]

_ROLES = ("system", "user", "assistant")

# What stands between an instruction of Alpaca's and its input, in a prompt that has both.
ALPACA_INPUT = "\n\n### Input:\n"


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One format of prompt.

    `role_markers` are the strings that open a turn in this format: a completion that contains one has begun
    to write the next turn itself. `stop_strings` are these and the three generic ones, which hold without a
    template too.

    `answer_lead` is what stands before the answer that is trained on, where that is not what stands before the
    answers of earlier turns.
    """

    name: str
    role_markers: tuple[str, ...]
    _write: Callable[[list[Message]], str]
    answer_lead: str | None = None

    @property
    def stop_strings(self) -> tuple[str, ...]:
        return self.role_markers + GENERIC_STOP_STRINGS

    def render(self, prompt: Prompt) -> str:
        """The text that a model continues with its answer. A plain string counts as one user turn.

        Raises ConfigError for a conversation that is empty, has an unknown role, or ends with the
        assistant's turn.
        """
        messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if not messages:
            raise ConfigError("a prompt is an empty list of messages; it needs at least one user message.")
        for message in messages:
            if message["role"] not in _ROLES:
                raise ConfigError(
                    f"a prompt has a message with the role {message['role']!r}; allowed: {', '.join(_ROLES)}."
                )
        if messages[-1]["role"] == "assistant":
            raise ConfigError("a prompt ends with the assistant's turn; end it with a user message to be answered.")
        return self._write(messages)

    def render_answer(self, prompt: Prompt, answer: str) -> tuple[str, str]:
        """What comes after `render(prompt)` once it is answered: the answer as it is set, and what follows it.

        That is the end of its turn, where the format writes one, and the opening of the turn that would come next.
        Raises ConfigError as `render` does.
        """
        messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        # A character that no text has, so that it can be found again.
        answered = self._write([*messages, {"role": "assistant", "content": "\0"}])
        lead, _, after = answered.removeprefix(self.render(messages)).partition("\0")
        return (lead if self.answer_lead is None else self.answer_lead) + answer, after


def user_text(prompt: Prompt) -> str:
    r"""What the user asked: a plain prompt itself, else the user turns joined by a newline, without other roles.

    >>> user_text([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "?"},
    ...            {"role": "user", "content": "Say it"}])
    'Hi\nSay it'
    """
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message_text(message) for message in prompt if message["role"] == "user")


def message_text(message: Mapping[str, Any]) -> str:
    """The text of one message: its content, or the text parts of a multimodal one; nothing for a mere tool call."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _plain(messages: list[Message]) -> str:
    return "\n".join(message_text(message) for message in messages)


def _turns(system: str, wrap: Mapping[str, str], opening: str, separator: str = "") -> Callable[[list[Message]], str]:
    """A writer of the system text (the conversation's own, else `system`), each turn, and `opening`."""

    def write(messages: list[Message]) -> str:
        own = "\n".join(message_text(message) for message in messages if message["role"] == "system")
        head = own or system
        turns = [
            wrap[message["role"]].format(message_text(message)) for message in messages if message["role"] != "system"
        ]
        opened = [wrap["system"].format(head)] if head else []
        return "".join([*opened, *turns]) + opening

    return write


def _alpaca(task: str) -> Callable[[list[Message]], str]:
    return _turns(
        f"Below is an instruction that describes a task{task}. "
        "Write a response that appropriately completes the request.",
        {"system": "{}", "user": "\n\n### Instruction:\n{}", "assistant": "\n\n### Response:\n{}"},
        "\n\n### Response:",
    )


_ALPACA, _ALPACA_WITH_INPUT = _alpaca(""), _alpaca(", paired with an input that provides further context")


def _write_alpaca(messages: list[Message]) -> str:
    return (_ALPACA_WITH_INPUT if ALPACA_INPUT in user_text(messages) else _ALPACA)(messages)


def _write_llama_2(messages: list[Message]) -> str:
    """Each turn of the user's opens a sequence of its own, which its answer closes. The tokenizer opens the first."""
    system = "\n".join(message_text(message) for message in messages if message["role"] == "system")
    # In front of the first turn of the user's, within its brackets.
    head = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system else ""
    written = ""
    for message in messages:
        text = message_text(message)
        if message["role"] == "user":
            text = (head + text).strip()
            written += f"<s>[INST] {text} [/INST]"
            head = ""
        elif message["role"] == "assistant":
            written += f" {text.strip()} </s>"
    return written.removeprefix("<s>")


_TEMPLATES = (
    PromptTemplate("none", (), _plain),
    # The format of Stanford Alpaca, with and without an input; alpaca-farm-sft10k was trained on both.
    PromptTemplate(
        "alpaca",
        ("### Instruction:", "### Input:", "### Response:"),
        _write_alpaca,
        answer_lead="",  # as Alpaca was trained: nothing between "Response:" and the answer
    ),
    # The format of Vicuna v1.1 and v1.5 (FastChat's ADD_COLON_TWO): `</s>` closes each answer, and no space follows it.
    PromptTemplate(
        "vicuna",
        ("USER:", "ASSISTANT:"),
        _turns(
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions.",
            {"system": "{} ", "user": "USER: {} ", "assistant": "ASSISTANT: {}</s>"},
            "ASSISTANT:",
        ),
    ),
    # The format of Anthropic's HH dialogues.
    PromptTemplate(
        "hh",
        ("\n\nHuman:", "\n\nAssistant:"),
        _turns("", {"system": "{}", "user": "\n\nHuman: {}", "assistant": "\n\nAssistant: {}"}, "\n\nAssistant:"),
    ),
    PromptTemplate(
        "chatml",
        ("<|im_start|>", "<|im_end|>"),
        _turns(
            "",
            {role: f"<|im_start|>{role}\n{{}}<|im_end|>\n" for role in _ROLES},
            "<|im_start|>assistant\n",
        ),
    ),
    # The format of Llama-2-Chat (Meta's llama/generation.py): a system text stands within the first turn.
    PromptTemplate("llama-2", ("[INST]", "[/INST]", "<<SYS>>"), _write_llama_2),
    # The format of zephyr-7b-beta's chat template: `</s>` closes every turn.
    PromptTemplate(
        "zephyr",
        tuple(f"<|{role}|>" for role in _ROLES),
        _turns("", {role: f"<|{role}|>\n{{}}</s>\n" for role in _ROLES}, "<|assistant|>\n"),
    ),
    # The format of Tulu 1 and 2 (allenai/tulu-2-7b): `</s>` closes answers alone, and a newline follows the last role.
    PromptTemplate(
        "tulu",
        tuple(f"<|{role}|>" for role in _ROLES),
        _turns(
            "",
            {"system": "<|system|>\n{}\n", "user": "<|user|>\n{}\n", "assistant": "<|assistant|>\n{}</s>\n"},
            "<|assistant|>\n",
        ),
    ),
)

TEMPLATES: Mapping[str, PromptTemplate] = MappingProxyType({template.name: template for template in _TEMPLATES})


def get_template(name: str) -> PromptTemplate:
    """The template called `name`; `plain` is another word for `none`. Raises ConfigError for any other."""
    if name == "plain":
        name = "none"
    if name in TEMPLATES:
        return TEMPLATES[name]
    near = get_close_matches(name, TEMPLATES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"there is no prompt template called {name!r}; allowed: {', '.join(TEMPLATES)}.{hint}")
