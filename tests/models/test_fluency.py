"""fluency against the loss that transformers itself computes, one example at a time."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

from proxygold import reward
from proxygold.errors import ModelError, RewardError
from proxygold.models.bundled import bundled_policy_path
from proxygold.models.fluency import load_fluency_model
from proxygold.records import Example
from proxygold.templates import get_template

EXAMPLES = [
    Example("Name a colour.", "Green."),
    Example("Name a colour, and say at some length why it is the one that came to your mind.", "Blue, since " + "so " * 60),
    Example([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "Who?"}], "Me."),
    Example("List three birds.", "Robin, wren, finch, and no other bird that I could think of at this time of the day."),
    Example("Why?", ""),
    Example("Say nothing but the end of a turn.", "<|im_end|>"),
]  # fmt: skip


@cache
def loaded(directory: Path) -> tuple[Any, Any]:
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(directory)


def plain(directory: Path, example: Example, *, template: str = "chat", keep: tuple[int, int] | None = None) -> float:
    """The mean log-probability as transformers computes a loss: labels of -100 on the prompt, no padding, no batch.

    `keep`: how many tokens at the end of the prompt, and at the start of the completion, are read.
    """
    model, tokenizer = loaded(directory)
    if template == "chat":
        prompt = example.prompt if isinstance(example.prompt, list) else [{"role": "user", "content": example.prompt}]
        text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    else:
        text = get_template(template).render(example.prompt)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(example.completion, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    if keep is not None:
        before, after = before[-keep[0] :], after[: keep[1]]
    ids = torch.tensor([before + after])
    labels = torch.tensor([[-100] * len(before) + after])
    with torch.no_grad():
        return -float(model(input_ids=ids, labels=labels).loss)


@pytest.mark.parametrize("template", ["chat", "alpaca", "none"])
def test_values_are_those_of_transformers(tiny_models: tuple[Path, Path], template: str) -> None:
    policy = tiny_models[0]
    expected = [plain(policy, example, template=template) for example in EXAMPLES]
    line = f"fluency(model={str(policy)!r}, template={template!r})"
    assert np.ptp(expected) > 0.01
    assert reward(line).score(EXAMPLES).total == pytest.approx(expected, abs=1e-5)


def test_logits_that_the_model_caps_stay_capped(tmp_path: Path) -> None:
    # Gemma 2 computes its logits from the output layer and a cap after it.
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(bundled_policy_path())
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        final_logit_softcapping=2.0,
        initializer_range=0.5,
        pad_token_id=2,
    )
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    expected = [plain(tmp_path, example) for example in EXAMPLES]
    assert reward(f"fluency(model={str(tmp_path)!r})").score(EXAMPLES).total == pytest.approx(expected, abs=1e-5)


def test_what_is_too_long_loses_the_start_of_the_prompt_then_the_end_of_the_completion(
    tiny_models: tuple[Path, Path],
) -> None:
    policy = tiny_models[0]
    tokenizer = AutoTokenizer.from_pretrained(policy)
    # 28 tokens of the long prompt's own text alone; with the template more than 20.
    longest = load_fluency_model(str(policy), max_length=40)
    short, long = Example("Name a colour. " * 20, "Green, or blue."), Example("Name a colour. " * 20, "so " * 60)
    few = len(tokenizer("Green, or blue.")["input_ids"])
    expected = [plain(policy, short, keep=(40 - few, few)), plain(policy, long, keep=(20, 20))]
    assert longest.score([short, long])[0] == pytest.approx(expected, abs=1e-5)


def test_a_value_depends_neither_on_company_nor_on_order_nor_on_threads(
    tiny_models: tuple[Path, Path], one_thread: None
) -> None:
    scorer = reward(f"0.5 * fluency(model={str(tiny_models[0])!r})")
    together = scorer.score(EXAMPLES).total
    np.testing.assert_array_equal(scorer.score(EXAMPLES[::-1]).total[::-1], together)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda example: scorer.score([example]).total[0], EXAMPLES))
    np.testing.assert_array_equal(alone, together)


@pytest.mark.slow
def test_the_bundled_model_finds_english_likelier_than_letters() -> None:
    examples = [
        Example("What is the capital of France?", "The capital of France is Paris."),
        Example("What is the capital of France?", "Capital the is Paris France of."),
        Example("What is the capital of France?", "xq zzv blorp fnee kk wq"),
    ]
    values = reward("fluency").score(examples).total
    assert values[0] > values[1] > values[2]
    assert values[0] == pytest.approx(plain(bundled_policy_path(), examples[0]), abs=1e-4)


def test_a_model_without_a_chat_template_needs_another(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    directory = shutil.copytree(tiny_models[0], tmp_path / "plain")
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r'has no chat template.*template="none" for the bare prompt'):
        reward(f"fluency(model={str(directory)!r})").score(EXAMPLES)
    assert np.isfinite(reward(f"fluency(model={str(directory)!r}, template='none')").score(EXAMPLES).total).all()


def test_a_conversation_that_the_template_refuses_has_no_value(tiny_models: tuple[Path, Path]) -> None:
    ends_wrongly = Example([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}], "Me.")
    scored = reward(f"fluency(model={str(tiny_models[0])!r}, template='alpaca')").score([EXAMPLES[0], ends_wrongly])
    assert np.isfinite(scored.total[0])
    assert np.isnan(scored.total[1])
    assert str(scored.reasons[1]).startswith("fluency: a prompt does not fit the prompt template")


def test_models_that_cannot_be_had_are_told(tiny_models: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match="there is no such directory"):
        reward("fluency(model='./nothing')").score(EXAMPLES)
    with pytest.raises(ModelError, match="max_length is 100000, but the language model .* reads 2 to 2048 tokens"):
        reward(f"fluency(model={str(tiny_models[0])!r}, max_length=100000)").score(EXAMPLES)


def test_wrong_arguments_are_told() -> None:
    for argument, message in {
        "template='alpacca'": "'chat', 'none', 'alpaca'",
        "max_length=1": "a whole number of tokens from 2, or 0",
        "dtype='float16'": "'float32' or 'bfloat16'",
        "model=''": "a language model: a bundled name",
    }.items():
        with pytest.raises(RewardError, match=message):
            reward(f"fluency({argument})")
