"""Training a reward model end to end, on a model of 30 thousand weights (beside its embedding) with SmolLM2's own tokenizer."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import RewardTrainer

from proxygold.data.preferences import PreferencePair
from proxygold.errors import DataError, StoreError
from proxygold.models.bundled import bundled_policy_path
from proxygold.models.reward_models import load_reward_model
from proxygold.records import Example
from proxygold.training.reward_model import RewardModelConfig, train_reward_model

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
    assert list(second) == list(first)


@pytest.fixture(scope="module")
def epochs(settings):
    """Three epochs of 22 pairs, 4 steps each; dropout, so that torch's random numbers count as well."""
    return settings | {"max_steps": None, "epochs": 3, "learning_rate": 1e-2, "save_every": 2, "lora_dropout": 0.1}


@pytest.fixture(scope="module")
def train_and_watch(epochs):
    """Trains in a directory, up to Ctrl-C in a step if one is given; returns the result and the batches seen."""
    pairs = [*pairs_about(TOPICS[:7]), pairs_about(["cats"])[0]]

    def train(out, stop_in=None):
        batches = []

        def step(trainer, model, inputs, *rest, **named):
            batches.append([tuple(row) for row in inputs["input_ids"].tolist()])
            if len(batches) == stop_in:
                raise KeyboardInterrupt
            return plain(trainer, model, inputs, *rest, **named)

        with pytest.MonkeyPatch.context() as patch:
            plain = RewardTrainer.training_step
            patch.setattr(RewardTrainer, "training_step", step)
            config = RewardModelConfig(**epochs)
            if stop_in is None:
                return train_reward_model(config, pairs, out, held_out=pairs_about(TOPICS[8:])), batches
            with pytest.raises(KeyboardInterrupt):
                train_reward_model(config, pairs, out, held_out=pairs_about(TOPICS[8:]))
        return None, batches

    return train


@pytest.fixture(scope="module")
def uninterrupted(train_and_watch, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    return out, *train_and_watch(out)


def test_every_epoch_has_every_pair_once_in_another_order(uninterrupted):
    _, _, batches = uninterrupted
    assert [len(batch) for batch in batches] == [12, 12, 12, 8] * 3  # two rows a pair, and 22 = 6 + 6 + 6 + 4
    tokens = [[tuple(t for t in row if t != 0) for batch in batches[i : i + 4] for row in batch] for i in (0, 4, 8)]
    assert sorted(tokens[0]) == sorted(tokens[1]) == sorted(tokens[2])
    assert len(set(tokens[0])) == 44
    assert tokens[0] != tokens[1] != tokens[2] != tokens[0]


def test_a_training_stopped_in_two_epochs_goes_on_with_the_same_batches_to_the_same_weights(
    train_and_watch, uninterrupted, tmp_path
):
    out, result, batches = uninterrupted
    # A checkpoint comes after every second step, an epoch has 4: the first stop goes on at a boundary, the second not.
    _, first = train_and_watch(tmp_path, stop_in=6)
    _, second = train_and_watch(tmp_path, stop_in=4)
    resumed, third = train_and_watch(tmp_path)
    assert first == batches[:6]
    assert second == batches[4:8]
    assert third == batches[6:]
    last = "checkpoints/checkpoint-12/adapter_model.safetensors"  # in float32; the saved model is rounded to 16 bits
    weights, expected = (load_file(directory / last) for directory in (tmp_path, out))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert resumed.final_loss == result.final_loss
    assert resumed.accuracy == result.accuracy


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
    with pytest.raises(DataError, match="0 of 33 pairs fit into max_length=8 tokens"):
        train_reward_model(config, pairs_about(TOPICS[1:]), tmp_path / "out", held_out=pairs_about(TOPICS[:1]))
    with pytest.raises(DataError, match="none of the 0 pairs to hold out can be used"):
        train_reward_model(config, pairs_about(TOPICS), tmp_path / "other", held_out=[])


# As Gemma's: turns have to alternate, and no system turn is known.
STRICT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>{% endfor %}"
)


def after_system(topic, place):
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Tell me about {topic}."})
    return PreferencePair(turns, GOOD[0], BAD[0], "odd", place)


def test_pairs_that_the_template_refuses_and_shared_prompts_are_left_out_and_reported(settings, tmp_path):
    config = RewardModelConfig(**settings | {"max_steps": 1, "chat_template": STRICT_TEMPLATE})
    follow_up = PreferencePair(
        ({"role": "user", "content": " tell me about MOSS."}, {"role": "assistant", "content": "It is green."}, {"role": "user", "content": "More."}),
        GOOD[1], BAD[1],
    )  # fmt: skip
    pairs = [after_system("tea", "pairs.jsonl:1"), *pairs_about(TOPICS[:4]), follow_up, *pairs_about(["moss"])]
    held_out = [*pairs_about(["moss", "jazz"]), after_system("maps", "")]
    out = tmp_path / "out"
    result = train_reward_model(config, pairs, out, held_out=held_out)
    reason = "the reward model's chat template refuses the conversation: roles must alternate"
    assert result.refused == (f"pairs.jsonl:1: {reason}", f"pair 7: {reason}")
    assert (result.trained_pairs, result.shared_pairs, result.dropped_pairs) == (12, 4, 0)
    assert result.held_out_pairs == result.accuracy.overall.n == 6  # whole, but for the pair that cannot be read
    assert train_reward_model(config, pairs, out, held_out=held_out) == result  # as it is told again


def test_when_the_template_refuses_every_pair_the_first_is_named(settings, tmp_path):
    config = RewardModelConfig(**settings | {"chat_template": STRICT_TEMPLATE})
    odd = [after_system(topic, f"pairs.jsonl:{line}") for line, topic in enumerate(TOPICS[:3], start=4)]
    with pytest.raises(
        DataError, match=r"0 of 3 pairs .* 3 were refused, first pairs\.jsonl:4: .*roles must alternate"
    ):
        train_reward_model(config, odd, tmp_path / "out", held_out=pairs_about(["jazz"]))
    with pytest.raises(DataError, match=r"none of the 3 pairs to hold out can be used. The first: pairs\.jsonl:4"):
        train_reward_model(config, pairs_about(["jazz"]), tmp_path / "other", held_out=odd)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(ValidationError, match="seed"):
        RewardModelConfig(seed=seed)


def test_every_setting_is_read():
    source = Path(__file__).parents[2] / "src/proxygold/training/reward_model.py"
    text = source.read_text()
    unread = [name for name in RewardModelConfig.model_fields if f"config.{name}" not in text]
    assert unread == []
