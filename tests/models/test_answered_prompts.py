"""Prompt and answer as tokens: the prompt's are those that sampling starts from, the answer ends as a policy's does."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer, LlamaConfig

from proxygold.errors import DataError
from proxygold.models.bundled import bundled_policy_path
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.prompt_tokens import PromptTokens

END = 2  # <|im_end|>
ENDS = frozenset({END})
TALK = [
    {"role": "user", "content": "Name a color."},
    {"role": "assistant", "content": "Red."},
    {"role": "user", "content": "Another?"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(bundled_policy_path())


def tokens(tokenizer, template="chat", **settings):
    return PromptTokens(
        PolicySettings(model="m", prompt_template=template, **settings), tokenizer, LlamaConfig(vocab_size=8)
    )


def test_a_chat_template_closes_the_answer(tokenizer):
    prompt, answer = tokens(tokenizer).encode_answered(TALK, "Blue.", ENDS)
    assert prompt == tokens(tokenizer).encode(TALK)
    whole = tokenizer.apply_chat_template([*TALK, {"role": "assistant", "content": "Blue."}], return_dict=False)
    assert [*prompt, *answer] == whole[: len(prompt) + len(answer)]
    assert tokenizer.decode(whole[len(prompt) + len(answer) :]) == "\n"  # what stands after the end is not learned
    assert tokenizer.decode(answer) == "Blue.<|im_end|>"


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("hh", " Blue.<|im_end|>"),  # the format has no end, so the tokenizer's is put there
        ("alpaca", "Blue.<|im_end|>"),
        ("none", "\nBlue.<|im_end|>"),
        ("chatml", "Blue.<|im_end|>"),  # the format's own
        ("vicuna", " Blue.<|im_end|>"),  # `</s>` is no end to this model
    ],
)
def test_a_named_template_is_closed_by_an_end_that_the_model_knows(tokenizer, template, written):
    prompt, answer = tokens(tokenizer, template).encode_answered("Name a color.", "Blue.", ENDS)
    assert prompt == tokens(tokenizer, template).encode("Name a color.")
    assert tokenizer.decode(answer) == written
    assert answer.count(END) == 1


def test_the_answer_has_the_tokens_it_has_in_the_text_unless_they_merge_with_the_prompts(tokenizer):
    reader = tokens(tokenizer, "none")
    # "\n" and "\n\nx" would be one token "\n\n\n" in one text; the prompt keeps its own.
    prompt, answer = reader.encode_answered("Name a color.\n", "\n\nx", ENDS)
    joint = tokenizer("Name a color.\n\n\n\nx")["input_ids"]
    assert prompt == tokenizer("Name a color.\n")["input_ids"]
    assert joint[: len(prompt)] != prompt
    assert tokenizer.decode([*prompt, *answer]) == "Name a color.\n\n\n\nx<|im_end|>"
    # Where nothing merges, they are those of the text.
    prompt, answer = tokens(tokenizer, "hh").encode_answered("Hi", "Good morning!", ENDS)
    assert [*prompt, *answer] == [*tokenizer("\n\nHuman: Hi\n\nAssistant: Good morning!")["input_ids"], END]


def test_an_end_inside_an_answer_is_refused(tokenizer):
    for template in ("chat", "hh"):
        with pytest.raises(DataError, match="the answer has the text of an end-of-sequence token in it"):
            tokens(tokenizer, template).encode_answered("Hi", "No<|im_end|>yes", ENDS)


def test_a_chat_template_that_writes_answered_prompts_otherwise(tokenizer, monkeypatch):
    """As templates do that open the answer with a thought: what is sampled from is the prompt with that opening."""
    template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}{% if add_generation_prompt %}assistant:<think>"
        "{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    prompt, answer = tokens(tokenizer).encode_answered("Hi", "Hello.", ENDS)
    assert tokenizer.decode(prompt) == "user:Hi;assistant:<think>"
    assert tokenizer.decode(answer) == "Hello.<|im_end|>"


def test_a_chat_template_without_an_end_and_one_that_refuses(tokenizer, monkeypatch):
    template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}{{ 'assistant:' if add_generation_prompt }}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    prompt, answer = tokens(tokenizer).encode_answered("Hi", "Hello.", ENDS)
    assert tokenizer.decode([*prompt, *answer]) == "user:Hi;assistant:Hello.<|im_end|>"
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}x{% endfor %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(DataError, match="a prompt does not fit the prompt template: no"):
        tokens(tokenizer).encode_answered("Hi", "Hello.", ENDS)


def test_the_system_prompt_is_part_of_the_prompt(tokenizer):
    reader = tokens(tokenizer, "chatml", system_prompt="Be brief.")
    prompt, _ = reader.encode_answered("Hi", "Hello.", ENDS)
    assert tokenizer.decode(prompt).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi")
