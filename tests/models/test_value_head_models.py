"""Reward models with a value head of their own, as they were published: tiny ones of random weights, loaded and scored.

What is expected is computed straight from the weights: one row, nothing padded, no code of ours.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from proxygold.errors import ConfigError, ModelError
from proxygold.models.reward_models import reward_model_identity
from proxygold.models.reward_settings import reward_model_settings
from proxygold.records import Example
from reward_checkpoints import SIZES, check, load, published, trunk_and_head

EXAMPLES = [
    Example("Name a colour.", "Green."),
    Example("Name a colour, and say why it is the one that came to your mind.", "Blue, since " + "so " * 60),
    Example([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "Who?"}], "Me."),
    Example("Why?", ""),
]  # fmt: skip


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
