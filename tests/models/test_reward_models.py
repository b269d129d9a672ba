"""Reward models: how they are read, padded and pooled; and what gold-mini, which ships, is good for."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from proxygold.errors import ConfigError, ModelError
from proxygold.models.bundled import bundled_policy_path
from proxygold.models.reward_models import load_reward_model
from proxygold.records import Example

CONFIG = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
EXAMPLES = [
    Example("Name a colour.", "Green."),
    Example("Name a colour, and say at some length why it is the one that came to your mind.", "Blue, since " + "so " * 60),
    Example("Why?", ""),
    Example([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "Who?"}], "Me."),
    Example("Say nothing but the end of a turn.", "<|im_end|>"),
    Example("List three birds.", "Robin, wren, finch, and no other bird that I could think of at this time of the day."),
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(bundled_policy_path())


@pytest.fixture(scope="module")
def llama(tmp_path_factory, tokenizer):
    """A classifier of random weights with SmolLM2's tokenizer, which pads with the token that ends a turn."""
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=2, **CONFIG)
    LlamaForSequenceClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def ends_with_padding(llama, tmp_path_factory, tokenizer):
    """The same, but its template ends a conversation with the token that is also the padding."""
    directory = tmp_path_factory.mktemp("ends_with_padding")
    LlamaForSequenceClassification.from_pretrained(llama).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|im_end|>' }}{% endfor %}"
    )
    return directory


def load(directory, **settings):
    return load_reward_model(str(directory), **{"device": "cpu", "dtype": "float32"} | settings)


def alone(directory, example):
    """The score of one example with nothing padded, straight from the weights: the last hidden state times the head."""
    model = LlamaForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    prompt = example.prompt if isinstance(example.prompt, list) else [{"role": "user", "content": example.prompt}]
    text = tokenizer.apply_chat_template(
        [*prompt, {"role": "assistant", "content": example.completion}], tokenize=False
    )
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        hidden = model.model(ids).last_hidden_state[0, -1]
        return float(hidden @ model.score.weight[0])


@pytest.mark.parametrize("fixture", ["llama", "ends_with_padding"])
def test_scores_are_read_at_the_last_token_whatever_the_padding(fixture, request):
    directory = request.getfixturevalue(fixture)
    expected = [alone(directory, example) for example in EXAMPLES]
    assert np.ptp(expected) > 0.1  # the answers differ, so the test can tell
    for size in (1, 2, 16):
        scores, reasons = load(directory, batch_size=size).score(EXAMPLES)
        assert scores == pytest.approx(expected, abs=1e-4)
        assert reasons == (None,) * len(EXAMPLES)
        assert scores.dtype == np.float64


FAMILIES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
    "gpt_neox": {},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "bloom": {"n_layer": 2, "n_head": 2},
    "falcon": {},
    "qwen3": {},
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_last_token_is_found_in_every_family_without_a_padding_token(kind, ends_with_padding, tmp_path):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(ends_with_padding)
    config = AutoConfig.for_model(kind, **CONFIG | FAMILIES[kind] | {"vocab_size": len(tokenizer), "num_labels": 1})
    config.pad_token_id = None
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    expected = []
    for example in EXAMPLES:
        prompt = example.prompt if isinstance(example.prompt, list) else [{"role": "user", "content": example.prompt}]
        conversation = [*prompt, {"role": "assistant", "content": example.completion}]
        ids = torch.tensor([tokenizer.apply_chat_template(conversation, return_dict=False)])
        with torch.no_grad():
            expected.append(float(model(ids).logits))  # one row without padding: the last token is the last
    assert np.ptp(expected) > 0.01
    assert load(tmp_path, batch_size=4).score(EXAMPLES)[0] == pytest.approx(expected, abs=1e-4)


def test_transformers_own_pooling_would_be_one_token_early(ends_with_padding):
    # Why lengths are used: the model's own forward gives another number here. When this fails, that has become needless.
    tokenizer = AutoTokenizer.from_pretrained(ends_with_padding)
    model = LlamaForSequenceClassification.from_pretrained(ends_with_padding, dtype=torch.float32).eval()
    text = "user: Name a colour.<|im_end|>assistant: Green.<|im_end|>"
    with torch.no_grad():
        own = float(model(**tokenizer(text, return_tensors="pt")).logits)
    assert abs(own - load(ends_with_padding).score(EXAMPLES[:1])[0][0]) > 1e-3


def test_a_score_does_not_depend_on_company_or_order(llama):
    model = load(llama, batch_size=4)
    scores, _ = model.score(EXAMPLES)
    order = [4, 0, 3, 5, 1, 2]
    shuffled, _ = model.score([EXAMPLES[row] for row in order])
    assert shuffled == pytest.approx(scores[order], abs=1e-6)
    single = [model.score([example])[0][0] for example in EXAMPLES]
    assert single == pytest.approx(scores, abs=1e-6)


def test_threads_may_share_a_model(llama):
    model = load(llama, batch_size=2)
    expected, _ = model.score(EXAMPLES)
    with ThreadPoolExecutor(8) as pool:
        for scores, _ in pool.map(lambda _: model.score(EXAMPLES), range(24)):
            assert scores == pytest.approx(expected, abs=1e-6)


def test_no_examples_are_no_scores_and_progress_counts(llama):
    model = load(llama, batch_size=2)
    scores, reasons = model.score([])
    assert (scores.shape, reasons) == ((0,), ())
    seen = []
    model.score(EXAMPLES, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(EXAMPLES)


def test_a_long_prompt_loses_its_start_and_the_answer_keeps_its_end(llama):
    model = load(llama, max_length=24)
    long = " ".join(f"word{number}" for number in range(50))
    one, other, another = model.score(
        [Example(long, "Green."), Example("unlike " + long, "Green."), Example(long, "Red!")]
    )[0]
    assert one == pytest.approx(other, abs=1e-6)
    assert abs(one - another) > 1e-3


def test_a_conversation_that_the_template_refuses_is_nan_with_the_reason(llama, tmp_path, tokenizer):
    LlamaForSequenceClassification.from_pretrained(llama).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('the user speaks first') }}{% endif %}"
        "{% for message in messages %}{{ message['content'] }}|{% endfor %}"
    )
    scores, reasons = load(tmp_path).score(
        [Example([{"role": "system", "content": "Be kind."}], "No."), Example("Hi", "Hello")]
    )
    assert np.isnan(scores[0])
    assert "the user speaks first" in reasons[0]
    assert np.isfinite(scores[1])
    assert reasons[1] is None


def test_a_score_that_is_not_finite_is_nan_with_the_reason(llama, tmp_path, tokenizer):
    model = LlamaForSequenceClassification.from_pretrained(llama)
    torch.nn.init.constant_(model.score.weight, float("inf"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    scores, reasons = load(tmp_path).score(EXAMPLES[:1])
    assert np.isnan(scores[0])
    assert "not a finite number" in reasons[0]


def test_a_model_without_chat_template_reads_a_pair_of_texts(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "name", "a", "colour", "green", "red", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, num_labels=1, initializer_range=0.3,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    examples = [Example("name a colour", "green."), Example("name a colour", "red red red red red.")]
    expected = []
    for example in examples:
        with torch.no_grad():
            expected.append(float(model(**tokenizer(example.prompt, example.completion, return_tensors="pt")).logits))
    assert load(tmp_path).score(examples)[0] == pytest.approx(expected, abs=1e-5)


def test_the_fingerprint_follows_what_changes_a_score(llama, ends_with_padding):
    first = load(llama).fingerprint
    assert first == load(llama, batch_size=3).fingerprint
    others = {
        load(ends_with_padding).fingerprint,  # another template
        load(llama, max_length=20).fingerprint,
        load(llama, dtype="bfloat16").fingerprint,
    }
    assert len(others | {first}) == 4


def test_a_model_is_loaded_once(llama):
    assert load(llama) is load(llama)


def test_what_is_no_reward_model_says_so(tmp_path, tokenizer):
    config = LlamaConfig(vocab_size=64, **CONFIG)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    with pytest.raises(ModelError, match=r"is not a reward model: its checkpoint has no score.weight"):
        load(tmp_path / "lm")

    LlamaForSequenceClassification(LlamaConfig(vocab_size=64, num_labels=3, **CONFIG)).save_pretrained(
        tmp_path / "three"
    )
    tokenizer.save_pretrained(tmp_path / "three")
    with pytest.raises(ModelError, match="has 3 outputs; a reward model has one"):
        load(tmp_path / "three")

    with pytest.raises(ModelError, match="is not a directory"):
        load(tmp_path / "nowhere")

    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text((tmp_path / "three/config.json").read_text())
    (tmp_path / "broken/model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="as a reward model"):
        load(tmp_path / "broken")

    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(ModelError, match="does not say what it adapts"):
        load(tmp_path / "adapter")


def test_settings_that_cannot_be_are_refused(llama):
    with pytest.raises(ConfigError, match="dtype is 'float16': input should be 'auto', 'float32' or 'bfloat16'"):
        load(llama, dtype="float16")
    with pytest.raises(ConfigError, match="batch_size is 0"):
        load(llama, batch_size=0)


def test_a_length_that_the_model_cannot_read_is_refused(llama):
    with pytest.raises(ModelError, match="max_length is 300, but the reward model .* reads 1 to 256 tokens"):
        load(llama, max_length=300)


# gold-mini


GOLD_DIRECTORY = Path(__file__).parents[2] / "src/proxygold/models/gold_mini"


def builtin(split):
    file = Path(__file__).parents[2] / "src/proxygold/data/builtin_prompts.jsonl"
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["split"] == split]


def test_gold_mini_is_small_enough_to_ship():
    files = [path for path in GOLD_DIRECTORY.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert (GOLD_DIRECTORY / "README.md").is_file()
    assert "/" not in json.loads((GOLD_DIRECTORY / "adapter_config.json").read_text())["base_model_name_or_path"]


def test_gold_mini_prefers_a_good_answer_to_a_spoiled_one():
    """On the validation prompts, which it was not trained on. The thresholds are well below what the card states."""
    rows = builtin("validation")[::4]
    assert len(rows) >= 30
    model = load_reward_model("gold-mini")

    def scores(answers):
        examples = [Example(row["prompt"], answer) for row, answer in zip(rows, answers, strict=True)]
        return model.score(examples)[0]

    good = scores([row["reference"] for row in rows])
    shifted = rows[1:] + rows[:1]
    wins = {
        "another prompt's answer": good > scores([row["reference"] for row in shifted]),
        "repeated": good > scores([" ".join([row["reference"]] * 3) for row in rows]),
        "cut": good > scores([row["reference"][: max(4, len(row["reference"]) // 2)] for row in rows]),
        "nothing": good > scores(["" for _ in rows]),
    }
    shares = {name: won.mean() for name, won in wins.items()}
    assert all(share > 0.6 for share in shares.values()), shares
