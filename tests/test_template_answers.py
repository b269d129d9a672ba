"""What each template writes for an answer that is trained on, string for string."""

from __future__ import annotations

import pytest

from proxygold.templates import TEMPLATES, get_template

# Prompt and what follows it, in the published form, up to the end of the answer's turn.
ANSWERED = {
    "none": ("Add 1 and 2.", "\n3"),
    # Stanford Alpaca's training text: the output follows "Response:" at once.
    "alpaca": (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nAdd 1 and 2.\n\n### Response:",
        "3",
    ),
    # FastChat's ADD_COLON_TWO: one space before the answer, `</s>` right after it.
    "vicuna": (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. USER: Add 1 and 2. ASSISTANT:",
        " 3</s>",
    ),
    "hh": ("\n\nHuman: Add 1 and 2.\n\nAssistant:", " 3"),
    "chatml": ("<|im_start|>user\nAdd 1 and 2.<|im_end|>\n<|im_start|>assistant\n", "3<|im_end|>\n"),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_an_answered_prompt_is_written_exactly(name: str) -> None:
    template = get_template(name)
    prompt, answered = ANSWERED[name]
    written, after = template.render_answer("Add 1 and 2.", "3")
    assert template.render("Add 1 and 2.") == prompt
    assert (written + after).startswith(answered)
    assert written.endswith("3")
    # What comes after the turn's end is the opening of the next turn, on which a prompt ends as well.
    assert prompt.endswith((written + after).removeprefix(answered))


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_follows_its_prompt_and_stays_as_it_is(name: str) -> None:
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "{x}"},
    ]
    written, _ = TEMPLATES[name].render_answer(talk, " {y} \n")  # type: ignore[arg-type]
    assert written.endswith(" {y} \n")
    assert len(written) <= len(" {y} \n") + 1
