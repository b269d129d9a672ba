"""Conversations as reward models read them, string for string."""

import pytest

from proxygold.errors import ConfigError
from proxygold.models.reward_templates import check_template, conversation_text
from proxygold.templates import TEMPLATES

TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yo"},
    {"role": "user", "content": "Who?"},
]
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{}\n\n### Response:"
)
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: {} ASSISTANT:"
)

# Every prompt template is here: a new one must say where a reward is read in it.
ONE_TURN = {
    "none": "Hi\nHello!",
    "alpaca": ALPACA.format("Hi") + "Hello!",
    "vicuna": VICUNA.format("Hi") + " Hello!</s>",
    "hh": "\n\nHuman: Hi\n\nAssistant: Hello!",
    "chatml": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>",
    "llama-2": "[INST] Hi [/INST] Hello! </s>",
    "zephyr": "<|user|>\nHi</s>\n<|assistant|>\nHello!</s>",
    "tulu": "<|user|>\nHi\n<|assistant|>\nHello!</s>",
    "ultrarm": "Human: Hi\n\nAssistant: Hello!",
}


@pytest.mark.parametrize("template", [*TEMPLATES, "ultrarm"])
def test_a_question_and_its_answer(template):
    before, answer = conversation_text(template, "Hi", "Hello!")
    assert before + answer == ONE_TURN[template]
    assert answer.startswith("Hello!")
    assert conversation_text(template, [{"role": "user", "content": "Hi"}], "Hello!") == (before, answer)
    # Nothing said is something to be scored too.
    assert "".join(conversation_text(template, "Hi", "")) == ONE_TURN[template].replace("Hello!", "")


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_answer_is_closed_as_earlier_answers_are(template):
    _, answer = conversation_text(template, "Hi", "Hello!")
    _, after = TEMPLATES[template].render_answer("Hi", "Hello!")
    end = answer.removeprefix("Hello!")
    assert after.startswith(end)
    assert end == end.rstrip()  # a newline more would be another place to read the reward at


def test_several_turns():
    assert "".join(conversation_text("ultrarm", TURNS, "Me.")) == (
        "Human: Hi\n\nAssistant: Yo\n\nHuman: Who?\n\nAssistant: Me."
    )
    assert "".join(conversation_text("chatml", [{"role": "system", "content": "Be kind."}, *TURNS], "Me.")) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n"
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nMe.<|im_end|>"
    )


def test_braces_and_markers_in_a_text_stay_as_they_are():
    for template in ONE_TURN:
        before, answer = conversation_text(template, "{0} %s", "{x}")
        assert "{0} %s" in before
        assert answer.startswith("{x}")


def test_what_cannot_be_written_says_so():
    with pytest.raises(ConfigError, match="no template called 'ultra' for reward models; .* Did you mean 'ultrarm'"):
        check_template("ultra")
    for template in ("ultrarm", "chatml"):
        with pytest.raises(ConfigError, match="role 'tool'"):
            conversation_text(template, [{"role": "tool", "content": "42"}], "Hello!")
        with pytest.raises(ConfigError, match="ends with the assistant's turn"):
            conversation_text(template, TURNS[:2], "Hello!")
