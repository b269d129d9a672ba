"""Annotators read from configs in AlpacaEval's form, and what a judge is shown."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxygold.errors import ConfigError
from proxygold.evaluation.alpaca_eval.annotator import OWN_PROMPT, own_annotator, parse_own, read_annotator

SHARED = Path(__file__).parents[2] / "../shared/data"

PROMPT = """
<|im_start|>system
You weigh answers.
<|im_end|>
<|im_start|>user
Asked: {instruction}
m: {output_1}
M: {output_2}
Say m or M.
<|im_end|>
"""
CONFIG: dict[str, Any] = {
    "prompt_template": "weigher/prompt.txt",
    "fn_completions": "openai_completions",
    "completions_kwargs": {"model_name": "judge-7b", "max_tokens": 5, "temperature": 0, "num_procs": 3},
    "completion_parser_kwargs": {"outputs_to_match": {1: "m", 2: "M"}},
}


def write(directory: Path, config: dict[str, Any], prompt: str = PROMPT) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "configs.yaml").write_text(yaml.safe_dump({"weigher": config}))
    (directory / "prompt.txt").write_text(prompt)
    return directory


def without(*keys: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in (CONFIG | more).items() if key not in keys}


def test_a_config_is_read(tmp_path: Path) -> None:
    # Its own directory is renamed: the prompt is found beside it.
    for directory in (tmp_path / "weigher", tmp_path / "renamed"):
        annotator = read_annotator(write(directory, CONFIG))
        assert (annotator.name, annotator.model) == ("weigher", "judge-7b")
        assert annotator.parameters == {"max_tokens": 5, "temperature": 0}  # how AlpacaEval calls is not sent
        assert [message["role"] for message in annotator.template] == ["system", "user"]
        assert annotator.parse("M") == 2.0
        assert annotator.source == str(directory / "configs.yaml")
        assert read_annotator(directory / "configs.yaml").prompt_hash == annotator.prompt_hash
    silent = read_annotator(write(tmp_path / "c", without(completions_kwargs={"model_name": "j"})))
    assert silent.parameters == {"temperature": 0.7, "max_tokens": 2048}  # AlpacaEval's defaults


def test_the_judge_is_shown_texts_as_they_are(tmp_path: Path) -> None:
    annotator = read_annotator(write(tmp_path, CONFIG))
    messages = annotator.messages("Why {output_1}?", "<|im_end|>", " {instruction} {x}\n")
    assert messages == [
        {"role": "system", "content": "You weigh answers."},
        {"role": "user", "content": "Asked: Why {output_1}?\nm: <|im_end|>\nM:  {instruction} {x}\n\nSay m or M."},
    ]
    plain = read_annotator(write(tmp_path, without(prompt_template="Which? {instruction} {output_1} {output_2}")))
    assert plain.messages("i", "a", "b ") == [{"role": "user", "content": "Which? i a b"}]


def test_the_order_is_the_instructions_own() -> None:
    annotator = own_annotator()
    instructions = [f"Question {i}" for i in range(200)]
    switched = [annotator.is_switched(instruction, 0) for instruction in instructions]
    # AlpacaEval's formula, written out again.
    assert switched == [
        random.Random("is_switched_outputs" + instruction + str(0)).choices([False, True])[0]
        for instruction in instructions
    ]
    assert 70 < sum(switched) < 130
    assert [annotator.is_switched(instruction, 1) for instruction in instructions] != switched


def test_an_annotator_without_an_order_shows_the_reference_first(tmp_path: Path) -> None:
    annotator = read_annotator(write(tmp_path, without(is_randomize_output_order=False)))
    assert not any(annotator.is_switched(f"Question {i}", 0) for i in range(20))


def test_another_providers_model_is_not_taken_for_a_name_at_the_endpoint(tmp_path: Path) -> None:
    kwargs = {"model_name": "other-v1", "max_tokens_to_sample": 50, "temperature": 0, "client_function_name": "c"}
    annotator = read_annotator(
        write(tmp_path, without(fn_completions="anthropic_completions", completions_kwargs=kwargs))
    )
    assert annotator.model is None
    assert annotator.parameters == {"temperature": 0, "max_tokens": 50}


@pytest.mark.parametrize(
    ("config", "prompt", "message"),
    [
        (without(prompt="x"), PROMPT, "weigher has 'prompt', which is not known. Known: batch_size"),
        (without(batch_size=5), PROMPT, "puts 5 comparisons into one prompt (batch_size)"),
        (without(processors_to_kwargs={"Padding": {}}), PROMPT, "uses the processor Padding"),
        (without("prompt_template"), PROMPT, "weigher has no prompt_template"),
        (without(prompt_template="gone.txt"), PROMPT, "the prompt of weigher is not there; looked for"),
        (CONFIG, "Which? {instruction} {output_1}", "has the placeholders instruction, output_1; it needs"),
        (CONFIG, PROMPT + "{input}", "is not ChatML"),
        (CONFIG, PROMPT.replace("Asked:", "{input}"), "has the placeholders input, instruction, output_1, output_2"),
        (CONFIG, PROMPT.replace("system", "judge"), "is not ChatML: a message begins with a line <|im_start|>ROLE"),
        (
            without(completions_kwargs={"tokens_to_avoid": ["x"]}),
            PROMPT,
            "asks for tokens_to_avoid, which is not known",
        ),
        (without(fn_completion_parser="my_parser"), PROMPT, "weigher: the parser 'my_parser' is not known"),
    ],
)
def test_what_cannot_be_done_is_told(tmp_path: Path, config: dict[str, Any], prompt: str, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        read_annotator(write(tmp_path, config, prompt))
    assert message in str(told.value)


def test_files_that_are_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the annotator .*gone.* Give AlpacaEval's configs\.yaml"):
        read_annotator(tmp_path / "gone.yaml")
    file = tmp_path / "configs.yaml"
    file.write_text(yaml.safe_dump({"one": CONFIG, "two": CONFIG}))
    with pytest.raises(ConfigError, match="must hold one annotator with its settings, and it has one, two"):
        read_annotator(tmp_path)
    file.write_text("[]")
    with pytest.raises(ConfigError, match="must hold one annotator with its settings, and it has list"):
        read_annotator(tmp_path)


@pytest.mark.parametrize(
    ("text", "preference"),
    [("FIRST", 1.0), ("second.", 2.0), ("**TIE**", 1.5), ("It is clearer.\n\nVerdict: **FIRST**", 1.0)],
)
def test_our_own_prompt_is_answered_in_a_word(text: str, preference: float) -> None:
    assert parse_own(text) == preference


@pytest.mark.parametrize("text", ["A", "", "FIRST or SECOND", "The first is worse.", "FIRST\nBut it is wrong."])
def test_other_answers_to_our_own_prompt_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="neither FIRST nor SECOND nor TIE"):
        parse_own(text)


def test_our_own_prompt_shows_everything() -> None:
    (message,) = own_annotator().messages("Name a sea.", "The Baltic.", "A lake.")
    assert message["content"] == OWN_PROMPT.format(
        instruction="Name a sea.", output_1="The Baltic.", output_2="A lake."
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at ../shared/data")
def test_the_published_annotator_is_read() -> None:
    annotator = read_annotator(SHARED / "alpaca_eval_annotator")
    assert (annotator.name, annotator.model) == ("alpaca_eval_gpt4", "gpt-4")
    assert annotator.parameters == {"max_tokens": 100, "temperature": 0}
    assert [message["role"] for message in annotator.template] == ["system", "user"]
    assert annotator.parse("[{'model': 'model_2', 'rank': 1}, {'model': 'model_1', 'rank': 2}]") == 2.0
