"""length and target_length, against counts made by hand and the tokenizer itself."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from proxygold import Example, reward
from proxygold.errors import ModelError, RewardError
from proxygold.models.bundled import bundled_encoder_path, bundled_policy_path

TEXT = "Dr. Low can't. She's ill!\n\n\n\ncut off"


def score(line: str, completion: str) -> float:
    return float(reward(line).score([Example("q", completion)]).total[0])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("length", 12),  # Dr . Low can ' t . She ' s ill !
        ("length(unit='words', words='whitespace')", 5),
        ("length(unit='words', words='unicode')", 8),  # Dr . Low can't . She's ill !
        ("length(unit='characters')", 25),
        ("length(unit='sentences')", 2),
        # dr . low can ' t . she ' s ill !
        ("length(unit='tokens')", 12),
    ],
)
def test_each_unit(line: str, expected: int) -> None:
    assert score(line, TEXT) == expected


@pytest.mark.parametrize("unit", ["words", "characters", "sentences", "tokens"])
def test_nothing_has_no_length(unit: str) -> None:
    assert score(f"length(unit='{unit}')", " \n ") == 0


def test_characters_are_code_points() -> None:
    assert score("length(unit='characters')", "é😀中") == 3


def test_tokens_are_those_of_the_named_tokenizer_without_a_limit() -> None:
    text = "unbelievable tokenisation, 東京! " * 300
    for model, path in (
        ("all-minilm-l6-v2", bundled_encoder_path()),
        ("smollm2-135m-instruct", bundled_policy_path()),
    ):
        counted = len(AutoTokenizer.from_pretrained(path)(text.strip(), add_special_tokens=False)["input_ids"])
        assert counted > 2000  # far beyond the 512 positions of MiniLM
        assert score(f"length(unit='tokens', model='{model}')", text) == counted


def test_the_tokenizer_counts_towards_reward_id_where_it_is_used(tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(bundled_encoder_path()).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    tokens = f"target_length(unit='tokens', model='{tmp_path}')"
    words = f"target_length(model='{tmp_path}')"
    before = reward(tokens).reward_id, reward(words).reward_id
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "do_lower_case": False}))
    assert reward(tokens).reward_id != before[0]
    assert reward(words).reward_id == before[1]


def test_a_model_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"the tokenizer of .* cannot be loaded[\s\S]*tokenizer\.json"):
        score(f"length(unit='tokens', model='{tmp_path}')", "a")
    with pytest.raises(ModelError, match=r"the tokenizer './nowhere' is not a directory"):
        score("length(unit='tokens', model='./nowhere')", "a")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (0, 0.0),
        (1, 0.25),  # 1 - |1/4 - 1|
        (4, 1.0),
        (6, 0.5),  # 1 - |6/4 - 1|
        (8, 0.0),
        (12, -1.0),  # 1 - |12/4 - 1|
    ],
)
def test_target_length_is_highest_at_the_target(words: int, expected: float) -> None:
    assert score("target_length(target=4)", "w " * words) == expected


def test_target_length_in_other_units() -> None:
    assert score("target_length(target=50, unit='characters')", TEXT) == 0.5  # 25 of 50
    assert score("target_length(target=2.5, unit='sentences')", TEXT) == pytest.approx(0.8)  # 2 of 2.5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("length(unit='word')", "must be 'words', 'characters', 'sentences' or 'tokens'"),
        ("length(words='icu')", "must be 'wordpunct', 'whitespace' or 'unicode'"),
        ("length(model='')", "a bundled model, a directory or a hub id"),
        ("target_length(target=0)", "must be a number above 0"),
        ("target_length(target=True)", "must be a number above 0"),
        ("target_length(target='4')", "must be a number above 0"),
        ("distinct_n(n=0)", "a whole number from 1 to 100"),
        ("prompt_echo(n=2.5)", "a whole number from 1 to 100"),
    ],
)
def test_what_is_not_allowed_is_named(line: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        reward(line)
