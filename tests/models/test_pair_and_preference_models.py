"""Reward models that read a pair of texts, or say which of two is better, as published: tiny ones of random weights.

What is expected is computed straight from the weights: one row, nothing padded, no code of ours.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from proxygold.errors import ConfigError, ModelError
from proxygold.records import Example
from reward_checkpoints import WORDS, check, load

# --- a DeBERTa that scores a pair -------------------------------------------------------------------------------------


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
