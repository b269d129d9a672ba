"""Training a reward model end to end, on a model of 30 thousand weights (beside its embedding) with SmolLM2's own tokenizer."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from proxygold.data.preferences import PreferencePair
from proxygold.errors import DataError, StoreError
from proxygold.models.bundled import bundled_policy_path
from proxygold.models.reward_models import load_reward_model
from proxygold.records import Example
from proxygold.training.reward_model import RewardModelConfig, split_by_prompt, train_reward_model

TOPICS = ["tea", "rain", "dogs", "bread", "snow", "bikes", "stars", "moss", "trains", "jazz", "maps", "soup"]
GOOD = ["Certainly, here is an answer.", "Certainly, and with pleasure.", "Certainly: this is how."]
BAD = ["Whatever, who cares.", "Whatever, look it up yourself.", "Whatever: no idea."]


def pairs_about(topics, source="made"):
    return [
        PreferencePair(({"role": "user", "content": f"Tell me about {topic}."},), good, bad, f"{source}-{number}")
        for topic in topics
        for number, (good, bad) in enumerate(zip(GOOD, BAD, strict=True))
    ]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A causal language model of random weights; its tokenizer pads with the token that ends a turn."""
    directory = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(bundled_policy_path())
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def settings(tiny_model):
    return {
        "model": str(tiny_model),
        "max_steps": 30,
        "batch_size": 6,
        "learning_rate": 3e-2,
        "warmup_steps": 0,
        "lora_layers": None,
        "max_length": 64,
        "save_every": 10,
        "device": "cpu",
        "dtype": "float32",
    }


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    long = PreferencePair(({"role": "user", "content": "x " * 80},), "Certainly.", "Whatever.")
    out = tmp_path_factory.mktemp("trained") / "out"
    result = train_reward_model(
        RewardModelConfig(**settings),
        [*pairs_about(TOPICS[:8]), long],
        out,
        held_out=pairs_about(TOPICS[8:], "unseen"),
    )
    return result, out


def test_it_learns_what_the_pairs_prefer(trained):
    result, _ = trained
    # The head starts at zero, so the loss starts at log 2 = 0.693; the pairs can be told apart by their first word.
    assert result.final_loss < 0.2
    assert result.accuracy.overall.n == 12  # 4 unseen topics x 3 answers
    assert result.accuracy.overall.value == 1.0


def test_what_is_too_long_is_left_out_and_counted(trained):
    result, _ = trained
    assert (result.trained_pairs, result.dropped_pairs, result.held_out_pairs) == (24, 1, 12)


def test_the_first_loss_is_that_of_chance(trained):
    _, out = trained
    last = max(out.glob("checkpoints/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    assert history[0]["loss"] < 0.75  # five steps on average; a random head would start anywhere
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_the_saved_model_is_small_names_its_base_and_has_no_path_of_ours(trained, tiny_model):
    result, _ = trained
    files = {path.name for path in result.directory.iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "training.json"}
    config = json.loads((result.directory / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    # 2 layers x 7 modules of rank 8 in float16: 8 x (4 x 64 + 3 x 96) weights a layer, and a head of 32.
    assert (result.directory / "adapter_model.safetensors").stat().st_size < 2 * 2 * 8 * (4 * 64 + 3 * 96) + 6_000


def test_the_accuracies_are_those_of_the_saved_model(trained):
    result, out = trained
    model = load_reward_model(str(result.directory), device="cpu", dtype="float32")
    examples = [Example("Tell me about jazz.", answer) for answer in (GOOD[0], BAD[0])]
    scores, reasons = model.score(examples)
    assert reasons == (None, None)
    assert scores[0] - scores[1] > 1
    saved = json.loads((out / "accuracy.json").read_text())
    assert saved["overall"]["value"] == result.accuracy.overall.value
    assert [row["name"] for row in saved["by_source"]] == ["unseen-0", "unseen-1", "unseen-2"]


def test_a_finished_training_is_not_done_again(trained, settings):
    result, out = trained
    before = (result.directory / "adapter_model.safetensors").stat().st_mtime_ns
    again = train_reward_model(
        RewardModelConfig(**settings),
        [
            *pairs_about(TOPICS[:8]),
            PreferencePair(({"role": "user", "content": "x " * 80},), "Certainly.", "Whatever."),
        ],
        out,
        held_out=pairs_about(TOPICS[8:], "unseen"),
    )
    assert again == result
    assert (result.directory / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_a_stopped_training_goes_on_to_the_same_model(trained, settings, tmp_path):
    result, out = trained
    stopped = tmp_path / "out"
    (stopped / "checkpoints").mkdir(parents=True)
    (stopped / "config.json").write_text((out / "config.json").read_text())
    # As if it had died after step 20, while it was writing a later checkpoint.
    shutil.copytree(out / "checkpoints/checkpoint-20", stopped / "checkpoints/checkpoint-20")
    (stopped / "checkpoints/checkpoint-25").mkdir()
    long = PreferencePair(({"role": "user", "content": "x " * 80},), "Certainly.", "Whatever.")
    resumed = train_reward_model(
        RewardModelConfig(**settings),
        [*pairs_about(TOPICS[:8]), long],
        stopped,
        held_out=pairs_about(TOPICS[8:], "unseen"),
    )
    assert resumed.steps == result.steps == 30
    examples = [Example("Tell me about maps.", answer) for answer in (*GOOD, *BAD)]
    first, second = (
        load_reward_model(str(directory), device="cpu", dtype="float32").score(examples)[0]
        for directory in (result.directory, resumed.directory)
    )
    assert second == pytest.approx(first, abs=1e-2)


def test_another_training_is_not_written_over(trained, settings, tmp_path):
    _, out = trained
    with pytest.raises(StoreError, match="other settings or other pairs"):
        train_reward_model(RewardModelConfig(**settings | {"seed": 1}), pairs_about(TOPICS), out)
    (tmp_path / "thesis.tex").write_text("do not lose me")
    with pytest.raises(StoreError, match="is no training of a reward model"):
        train_reward_model(RewardModelConfig(**settings), pairs_about(TOPICS), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_too_few_pairs_say_so(settings, tmp_path):
    config = RewardModelConfig(**settings | {"max_length": 8})
    with pytest.raises(DataError, match="0 of 36 pairs fit into max_length=8 tokens"):
        train_reward_model(config, pairs_about(TOPICS), tmp_path / "out", held_out=pairs_about(TOPICS[:1]))


def test_a_prompt_falls_on_one_side_with_all_that_follows_it():
    pairs = pairs_about([f"thing {number}" for number in range(300)])
    first = pairs[0].prompt
    follow_up = PreferencePair(
        (*first, {"role": "assistant", "content": "Well."}, {"role": "user", "content": "Go on."}), "A", "B"
    )
    train, held_out = split_by_prompt([*pairs, follow_up], 0.2)
    assert {pair.prompt[0]["content"] for pair in train}.isdisjoint(pair.prompt[0]["content"] for pair in held_out)
    assert len(train) + len(held_out) == 901
    # Binomial: 300 prompts at 0.2 are 60 with a standard deviation of 6.9.
    assert 3 * 40 < len(held_out) < 3 * 80
    with pytest.raises(DataError, match="one side is empty"):
        split_by_prompt(pairs[:3], 0.2)


def test_every_setting_is_read():
    source = Path(__file__).parents[2] / "src/proxygold/training/reward_model.py"
    text = source.read_text()
    unread = [name for name in RewardModelConfig.model_fields if f"config.{name}" not in text]
    assert unread == []
