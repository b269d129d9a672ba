"""Prompt templates: the exact text, the stop strings, and the errors."""

import pytest

from proxygold.errors import ConfigError
from proxygold.records import Message
from proxygold.templates import TEMPLATES, get_template, user_text
from proxygold.text import GENERIC_STOP_STRINGS, trim_at_stop

TALK: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Name {one} fruit."},
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", "Name a fruit."),
        (
            "alpaca",
            "Below is an instruction that describes a task. Write a response that appropriately completes the request."
            "\n\n### Instruction:\nName a fruit.\n\n### Response:",
        ),
        (
            "vicuna",
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions. USER: Name a fruit. ASSISTANT:",
        ),
        ("hh", "\n\nHuman: Name a fruit.\n\nAssistant:"),
        ("chatml", "<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\n"),
        ("llama-2", "[INST] Name a fruit. [/INST]"),
        ("zephyr", "<|user|>\nName a fruit.</s>\n<|assistant|>\n"),
        ("tulu", "<|user|>\nName a fruit.\n<|assistant|>\n"),
    ],
)
def test_one_turn_is_written_exactly(name: str, expected: str) -> None:
    assert get_template(name).render("Name a fruit.") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", "Be brief.\nHi\nHello.\nName {one} fruit."),
        (
            "alpaca",
            "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello."
            "\n\n### Instruction:\nName {one} fruit.\n\n### Response:",
        ),
        ("vicuna", "Be brief. USER: Hi ASSISTANT: Hello.</s>USER: Name {one} fruit. ASSISTANT:"),
        ("hh", "Be brief.\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name {one} fruit.\n\nAssistant:"),
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello."
            "<|im_end|>\n<|im_start|>user\nName {one} fruit.<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "llama-2",
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Name {one} fruit. [/INST]",
        ),
        (
            "zephyr",
            "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello.</s>\n"
            "<|user|>\nName {one} fruit.</s>\n<|assistant|>\n",
        ),
        (
            "tulu",
            "<|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello.</s>\n"
            "<|user|>\nName {one} fruit.\n<|assistant|>\n",
        ),
    ],
)
def test_a_conversation_is_written_exactly(name: str, expected: str) -> None:
    assert get_template(name).render(TALK) == expected


def test_alpaca_says_when_there_is_an_input() -> None:
    assert get_template("alpaca").render("Sort these.\n\n### Input:\nb, a") == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request."
        "\n\n### Instruction:\nSort these.\n\n### Input:\nb, a\n\n### Response:"
    )


def test_llama_2_strips_turns_and_needs_no_first_answer() -> None:
    talk: list[Message] = [
        {"role": "user", "content": " Hi\n"},
        {"role": "assistant", "content": "\nYes. "},
        {"role": "user", "content": "Go"},
    ]
    assert get_template("llama-2").render(talk) == "[INST] Hi [/INST] Yes. </s><s>[INST] Go [/INST]"
    assert get_template("llama-2").render(TALK[:2]) == "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"


def test_every_template_keeps_the_generic_stops_and_stops_at_its_own_roles() -> None:
    for template in TEMPLATES.values():
        assert template.stop_strings[-3:] == GENERIC_STOP_STRINGS
        for marker in template.role_markers:
            assert trim_at_stop(f"An apple.{marker} more", template.stop_strings) == "An apple."
    assert get_template("plain") is TEMPLATES["none"]
    assert TEMPLATES["none"].stop_strings == GENERIC_STOP_STRINGS


def test_user_text_is_the_user_turns_alone() -> None:
    assert user_text("as it is ") == "as it is "
    assert user_text(TALK) == "Hi\nName {one} fruit."


def test_messages_may_have_parts_or_no_text() -> None:
    talk = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Look"}, {"type": "image"}, {"type": "text", "text": "!"}],
        },
        {"role": "assistant", "content": None},
        {"role": "user", "content": "Well?"},
    ]
    assert user_text(talk) == "Look!\nWell?"
    assert get_template("hh").render(talk) == "\n\nHuman: Look!\n\nAssistant: \n\nHuman: Well?\n\nAssistant:"


def test_an_unknown_template_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"no prompt template called 'vicunna'; allowed: none, alpaca, vicuna, hh, chatml"
    ):
        get_template("vicunna")
    with pytest.raises(ConfigError, match=r"Did you mean 'vicuna'\?"):
        get_template("vicunna")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "empty list of messages"),
        ([{"role": "bot", "content": "x"}], "role 'bot'; allowed: system, user, assistant"),
        ([{"role": "assistant", "content": "x"}], "ends with the assistant's turn"),
    ],
)
def test_a_conversation_that_cannot_be_answered_is_an_error(prompt: list[Message], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        get_template("hh").render(prompt)
