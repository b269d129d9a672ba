"""Reward models as they were published: a tiny one of random weights in each format, saved, loaded and scored.

What is expected is computed straight from the weights: one row, nothing padded, no code of ours.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from proxygold.errors import ConfigError, ModelError
from proxygold.models.reward_models import check_reward_model, load_reward_model, reward_model_identity
from proxygold.models.reward_settings import reward_model_settings
from proxygold.records import Example

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
EXAMPLES = [
    Example("Name a colour.", "Green."),
    Example("Name a colour, and say why it is the one that came to your mind.", "Blue, since " + "so " * 60),
    Example([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "Who?"}], "Me."),
    Example("Why?", ""),
]  # fmt: skip


def load(directory, **settings):
    return load_reward_model(str(directory), **{"device": "cpu", "dtype": "float32"} | settings)


def check(directory, **settings):
    check_reward_model(reward_model_settings(model=str(directory), device="cpu", **settings))


# --- a language model with a head of its own name ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes, and the two tokens of ChatML, of which the one that ends a turn also pads. No chat template, as Llama's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")  # fmt: skip


def trunk_and_head(tokenizer, kind="llama"):
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    trunk = AutoModel.from_config(AutoConfig.for_model(kind, **sizes)).eval()
    return trunk, nn.Linear(32, 1, bias=False)


def published(directory, tokenizer, trunk, head, *, trunk_name, head_name, architecture, file="safetensors"):
    """A checkpoint with the names that the authors' own classes give to its tensors."""
    directory.mkdir(parents=True, exist_ok=True)
    trunk.config.architectures = [architecture]
    trunk.config.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    tensors = {f"{trunk_name}.{name}": tensor.contiguous() for name, tensor in trunk.state_dict().items()}
    tensors[f"{head_name}.weight"] = head.weight.detach()
    if file == "safetensors":
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})
        return directory
    # In two files with an index, as models of this size are.
    names = sorted(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for part, held in parts.items():
        torch.save({name: tensors[name] for name in held}, directory / part)
    index = {"metadata": {}, "weight_map": {name: part for part, held in parts.items() for name in held}}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return directory


@pytest.fixture(scope="module")
def starling(tmp_path_factory, tokenizer):
    trunk, head = trunk_and_head(tokenizer)
    names = {"trunk_name": "transformer", "head_name": "v_head", "architecture": "LlamaForSequenceClassification"}
    return published(tmp_path_factory.mktemp("starling"), tokenizer, trunk, head, **names)


@pytest.fixture(scope="module")
def ultrarm(tmp_path_factory, tokenizer):
    trunk, head = trunk_and_head(tokenizer)
    names = {"trunk_name": "model", "head_name": "regression_head", "architecture": "LlamaRewardModel", "file": "bin"}
    return published(tmp_path_factory.mktemp("ultrarm"), tokenizer, trunk, head, **names)


CHATML = [
    "<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\nGreen.<|im_end|>",
    None,
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nMe.<|im_end|>",
    "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n<|im_end|>",
]
CHATML[1] = (
    f"<|im_start|>user\n{EXAMPLES[1].prompt}<|im_end|>\n<|im_start|>assistant\n{EXAMPLES[1].completion}<|im_end|>"
)
HUMAN = [
    "Human: Name a colour.\n\nAssistant: Green.",
    f"Human: {EXAMPLES[1].prompt}\n\nAssistant: {EXAMPLES[1].completion}",
    "Human: Hi\n\nAssistant: Yo\n\nHuman: Who?\n\nAssistant: Me.",
    "Human: Why?\n\nAssistant: ",
]


def straight(tokenizer, trunk, head, text):
    """The head times the last hidden state of a text."""
    with torch.no_grad():
        hidden = trunk(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state
        return float(head(hidden)[0, -1, 0])


@pytest.mark.parametrize(
    ("fixture", "template", "texts"), [("starling", "chatml", CHATML), ("ultrarm", "ultrarm", HUMAN)]
)
def test_a_value_head_is_read_at_the_end_of_its_own_text(fixture, template, texts, request, tokenizer):
    directory = request.getfixturevalue(fixture)
    trunk, head = trunk_and_head(tokenizer)
    expected = [straight(tokenizer, trunk, head, text) for text in texts]
    assert np.ptp(expected) > 0.1
    for kind in ("auto", "value-head"):
        check(directory, kind=kind, template=template)
        scores, reasons = load(directory, kind=kind, template=template, batch_size=4).score(EXAMPLES)
        assert scores == pytest.approx(expected, abs=1e-4)
        assert reasons == (None,) * 4


def test_the_score_is_the_one_of_the_published_code(starling, tokenizer):
    """The forward pass that Starling's model card describes: the place before the first padding, whose id is 0."""
    trunk, head = trunk_and_head(tokenizer)
    rows = [tokenizer(text)["input_ids"] for text in CHATML]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        states = trunk(ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
        rewards = head(states).squeeze(-1)
    expected = [float(rewards[row, len(rows[row]) - 1]) for row in range(len(rows))]
    assert load(starling, template="chatml").score(EXAMPLES)[0] == pytest.approx(expected, abs=1e-4)


def test_a_value_head_on_another_trunk(tmp_path, tokenizer):
    trunk, head = trunk_and_head(tokenizer, "gpt_neox")
    names = {"trunk_name": "transformer", "head_name": "reward_head", "architecture": "RewardModel"}
    directory = published(tmp_path, tokenizer, trunk, head, **names)
    expected = [straight(tokenizer, trunk, head, text) for text in HUMAN]
    assert load(directory, template="ultrarm").score(EXAMPLES)[0] == pytest.approx(expected, abs=1e-4)


def test_a_value_head_needs_its_template(starling):
    for act in (load, check):
        with pytest.raises(
            ConfigError, match=r"value head v_head, .*Give template: chatml for Starling-RM-34B, ultrarm"
        ):
            act(starling)
        with pytest.raises(ConfigError, match=r"give template, chatml for Starling-RM-34B"):
            act(starling, kind="value-head")
        with pytest.raises(ModelError, match=r"template is chat, and the tokenizer of .* has no chat template"):
            act(starling, template="chat")


def test_another_template_is_another_score_and_fingerprint(starling):
    one, two = load(starling, template="chatml"), load(starling, template="ultrarm")
    assert abs(one.score(EXAMPLES[:1])[0][0] - two.score(EXAMPLES[:1])[0][0]) > 1e-3
    assert one.fingerprint != two.fingerprint


def test_the_tokenizer_may_be_another_models(starling, tmp_path, tokenizer):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).symlink_to(starling / name)
    with pytest.raises(ModelError, match=r"the tokenizer of .*bare.* cannot be loaded"):
        check(bare, template="chatml")
    expected = load(starling, template="chatml").score(EXAMPLES)[0]
    found = load(bare, template="chatml", tokenizer=str(starling)).score(EXAMPLES)[0]
    assert found == pytest.approx(expected, abs=1e-7)
    # Its chat template then goes with it.
    other = tmp_path / "other"
    tokenizer.save_pretrained(other)
    (other / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    )
    found = load(bare, template="chat", tokenizer=str(other)).score(EXAMPLES[:1])[0]
    text = "[user] Name a colour.\n[assistant] Green.\n"
    assert found[0] == pytest.approx(straight(tokenizer, *trunk_and_head(tokenizer), text), abs=1e-4)
    # What it reads decides the score, so another tokenizer is another reward.
    settings = {"model": str(bare), "template": "chatml"}
    identities = {
        reward_model_identity(reward_model_settings(**settings, tokenizer=str(name))) for name in (starling, other)
    }
    assert len(identities) == 2


def test_what_a_long_text_loses_is_the_prompts_start(starling, tokenizer):
    trunk, head = trunk_and_head(tokenizer)
    text = "<|im_start|>user\n" + "far " * 50 + "near<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>"
    with torch.no_grad():
        ids = torch.tensor([tokenizer(text)["input_ids"][-12:]])
        expected = float(head(trunk(ids).last_hidden_state)[0, -1, 0])
    scores, _ = load(starling, template="chatml", max_length=12).score([Example("far " * 50 + "near", "Yes.")])
    assert scores[0] == pytest.approx(expected, abs=1e-4)


def test_what_is_no_value_head_says_so(starling, tmp_path, tokenizer):
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **SIZES)).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    for act in (load, check):
        with pytest.raises(
            ModelError, match=r"has no value head: its checkpoint has none of v_head.weight, regression_"
        ):
            act(tmp_path / "lm", kind="value-head", template="ultrarm")
        with pytest.raises(ModelError, match=r"is not a reward model: its checkpoint has no score.weight"):
            act(tmp_path / "lm")

    trunk, head = trunk_and_head(tokenizer)
    names = {"trunk_name": "transformer", "head_name": "v_head", "architecture": "X"}
    biased = published(tmp_path / "biased", tokenizer, trunk, head, **names)
    from safetensors.torch import load_file

    save_file({**load_file(biased / "model.safetensors"), "v_head.bias": torch.ones(1)}, biased / "model.safetensors")
    with pytest.raises(ModelError, match="the head v_head of .* has a bias"):
        check(biased, template="chatml")

    short = published(tmp_path / "short", tokenizer, trunk, head, **names)
    weights = load_file(short / "model.safetensors")
    weights.pop("transformer.layers.1.mlp.up_proj.weight")
    save_file(weights, short / "model.safetensors", {"format": "pt"})
    for act in (load, check):
        with pytest.raises(ModelError, match=r"its checkpoint has no model.layers.1.mlp.up_proj.weight"):
            act(short, template="chatml")


def test_a_classifier_reads_a_named_template_where_one_is_given(tmp_path, tokenizer):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), num_labels=1, **SIZES)
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    expected = []
    for text in HUMAN:
        with torch.no_grad():
            hidden = model.model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0, -1]
            expected.append(float(model.score(hidden)))
    check(tmp_path, template="ultrarm")
    assert load(tmp_path, template="ultrarm").score(EXAMPLES)[0] == pytest.approx(expected, abs=1e-4)


def test_a_conversation_that_the_template_cannot_write_is_nan_with_the_reason(starling):
    odd = Example([{"role": "tool", "content": "42"}], "So it is 42.")
    scores, reasons = load(starling, template="chatml").score([odd, EXAMPLES[0]])
    assert np.isnan(scores[0])
    assert "role 'tool'" in reasons[0]
    assert np.isfinite(scores[1])


# --- a DeBERTa that scores a pair -------------------------------------------------------------------------------------


WORDS = ["name", "a", "colour", "green", "red", ".", "why", "hi", "yo", "who", "me", "human", ":", "assistant"]


@pytest.fixture(scope="module")
def deberta(tmp_path_factory):
    """As OpenAssistant/reward-model-deberta-v3-large-v2 is saved: [CLS] question [SEP] answer [SEP], one output."""
    directory = tmp_path_factory.mktemp("deberta")
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(directory)
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=1, initializer_range=0.3, pooler_hidden_size=32, type_vocab_size=0,
        relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True,
        pos_att_type=["p2c", "c2p"], position_biased_input=False, max_relative_positions=-1,
    )  # fmt: skip
    DebertaV2ForSequenceClassification(config).save_pretrained(directory)
    return directory


PAIRS = [
    Example("name a colour", "green ."),
    Example("name a colour", "red red red red red red red red red ."),
    Example([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "who"}], "me ."),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["auto", "deberta-pair"])
def test_a_pair_scorer_reads_question_and_answer(kind, deberta):
    model = DebertaV2ForSequenceClassification.from_pretrained(deberta).eval()
    vocabulary = {word: place + 4 for place, word in enumerate(WORDS)}
    expected = []
    for question, answer in [("name a colour", PAIRS[0].completion), ("name a colour", PAIRS[1].completion), ("hi yo who", "me .")]:  # fmt: skip
        ids = [
            1,
            *(vocabulary[word] for word in question.split()),
            2,
            *(vocabulary[word] for word in answer.split()),
            2,
        ]
        with torch.no_grad():
            expected.append(float(model(torch.tensor([ids])).logits))
    assert np.ptp(expected) > 0.01
    check(deberta, kind=kind)
    assert load(deberta, kind=kind, batch_size=3).score(PAIRS)[0] == pytest.approx(expected, abs=1e-4)


def test_a_pair_scorer_stays_one_whatever_its_tokenizer_has(deberta, tmp_path):
    for file in Path(deberta).iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    expected = load(deberta).score(PAIRS)[0]
    assert load(tmp_path, kind="deberta-pair").score(PAIRS)[0] == pytest.approx(expected, abs=1e-6)
    assert load(tmp_path).score(PAIRS)[0] != pytest.approx(expected, abs=1e-3)


# --- a T5 that says which response is better --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steamshp(tmp_path_factory):
    """As SteamSHP is saved: a T5 whose tokenizer has a piece for "A", and ends a text with </s>."""
    directory = tmp_path_factory.mktemp("steamshp")
    pieces = [
        "<pad>",
        "</s>",
        "<unk>",
        "▁A",
        "▁B",
        "▁",
        "▁POST:",
        "▁RESPONSE",
        "▁A:",
        "▁B:",
        "▁.",
        "▁Which",
        "▁response",
    ]
    pieces += [
        "▁is",
        "▁better?",
        *(f"▁{word}" for word in WORDS if word not in (".", ":")),
        *"abcdefghijklmnopqrstuvwxyzHNW.,:",
    ]
    inner = Tokenizer(models.Unigram([(piece, -float(place)) for place, piece in enumerate(pieces)], unk_id=2))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    from tokenizers import decoders

    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(directory)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(pieces), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight.data *= 0.3  # far from certain, so that the probability tells much
    model.save_pretrained(directory)
    return directory


def question(context, answer):
    return f"POST: {context} \n\n RESPONSE A: {answer}\n\n RESPONSE B: .\n\n Which response is better? RESPONSE"


def probability_of_a(directory, text):
    """As the model card does it: generate one token, and look at the probability that "A" had."""
    model = T5ForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ids = tokenizer([text], return_tensors="pt").input_ids
    made = model.generate(ids, return_dict_in_generate=True, output_scores=True, max_new_tokens=1, do_sample=False)
    weights = torch.exp(made.scores[0].double())
    return float(weights[0, tokenizer.convert_tokens_to_ids("▁A")] / weights[0].sum())


T5_EXAMPLES = [
    Example("name a colour", "green ."),
    Example("name a colour\n\nwhy", "red\nred red red red"),
    Example([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "who"}], "me ."),
]  # fmt: skip


def test_a_preference_model_gives_the_probability_of_a(steamshp):
    texts = [
        question("name a colour", "green ."),
        question("name a colour why", "red red red red red"),
        question("Human: hi Assistant: yo Human: who", "me ."),
    ]
    expected = [probability_of_a(steamshp, text) for text in texts]
    assert np.ptp(expected) > 1e-3
    check(steamshp, kind="t5-preference")
    for size in (1, 3):
        scores, reasons = load(steamshp, kind="t5-preference", batch_size=size).score(T5_EXAMPLES)
        assert scores == pytest.approx(expected, abs=1e-6)
        assert reasons == (None,) * 3


def test_of_a_long_question_the_context_goes_first_and_then_the_answers_end(steamshp):
    tokenizer = AutoTokenizer.from_pretrained(steamshp)
    whole = len(tokenizer(question("who who who name a colour", "red green"))["input_ids"])
    model = load(steamshp, kind="t5-preference", max_length=whole - 3)
    expected = probability_of_a(steamshp, question("name a colour", "red green"))
    assert model.score([Example("who who who name a colour", "red green")])[0][0] == pytest.approx(expected, abs=1e-6)

    # A token less than the answer without any context needs: the last word of the answer goes.
    short = len(tokenizer(question("", "red green red"))["input_ids"]) - 1
    model = load(steamshp, kind="t5-preference", max_length=short)
    expected = probability_of_a(steamshp, question("", "red green"))
    assert model.score([Example("who who who", "red green red")])[0][0] == pytest.approx(expected, abs=1e-6)

    scores, reasons = load(steamshp, kind="t5-preference", max_length=5).score([Example("who", "me")])
    assert np.isnan(scores[0])
    assert "max_length is 5 tokens, and the question alone has" in reasons[0]


def test_a_t5_is_taken_for_a_preference_model_only_when_told_so(steamshp, starling):
    for act in (load, check):
        with pytest.raises(ConfigError, match=r"is a T5 that writes text\. .*say so: kind: t5-preference"):
            act(steamshp)
        with pytest.raises(ModelError, match="is a llama, not a T5 that writes text"):
            act(starling, kind="t5-preference")


def test_a_damaged_preference_model_says_so(steamshp, tmp_path):
    for file in Path(steamshp).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.safetensors").write_bytes((Path(steamshp) / "model.safetensors").read_bytes()[:1000])
    for act in (load, check):
        with pytest.raises(ModelError, match="as a T5 preference model"):
            act(tmp_path, kind="t5-preference")


@pytest.mark.parametrize(
    ("fixture", "settings"), [("steamshp", {"kind": "t5-preference"}), ("starling", {"template": "chatml"})]
)
def test_in_bfloat16_the_score_itself_is_float32(fixture, settings, request):
    directory = request.getfixturevalue(fixture)
    rough = load(directory, dtype="bfloat16", **settings).score(T5_EXAMPLES)[0]
    fine = load(directory, **settings).score(T5_EXAMPLES)[0]
    assert rough == pytest.approx(fine, abs=0.2 * np.abs(fine).max())
    assert not np.array_equal(torch.tensor(rough).bfloat16().double().numpy(), rough)
