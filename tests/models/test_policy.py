"""The policy: adapter on and off, prompts, checkpoints, and other architectures than Llama."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from proxygold.errors import ConfigError, ModelError, StoreError
from proxygold.models.bundled import resolve_model
from proxygold.models.causal_lm import pick_device, pick_dtype
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.models.token_batch import TokenBatch

BATCH = TokenBatch.build([[1, 2, 3], [4]], [[5, 6], [7, 8, 9, 0]], pad_token_id=0)
QV = ("q_proj", "v_proj")


def hidden(policy: Policy, batch: TokenBatch = BATCH) -> torch.Tensor:
    with torch.no_grad():
        return policy.response_hidden(batch)[batch.response_mask]


# --- adapter and reference -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fresh_adapter_changes_nothing_and_the_reference_ignores_it(tiny_policy: Any, dtype: str) -> None:
    policy = tiny_policy(dtype=dtype)
    with policy.reference():
        start = hidden(policy)
    assert torch.equal(hidden(policy), start)
    moved = tiny_policy(dtype=dtype, perturbed=True)
    assert not torch.allclose(hidden(moved), start, atol=0.01)
    with moved.reference():
        assert torch.equal(hidden(moved), start)
    moved.reset(0)
    assert torch.equal(hidden(moved), start)


def test_reset_depends_on_its_seed_alone(tiny_policy: Any) -> None:
    policy = tiny_policy(perturbed=True)
    torch.manual_seed(123)
    policy.reset(5)
    first = [parameter.clone() for parameter in policy.trainable_parameters()]
    policy.reset(6)
    assert not all(map(torch.equal, first, policy.trainable_parameters()))
    policy.reset(5)
    assert all(map(torch.equal, first, policy.trainable_parameters()))


def test_only_adapter_and_value_head_are_trained_in_float32(tiny_policy: Any) -> None:
    policy = tiny_policy(dtype="bfloat16", layers=2)
    assert policy.dtype_name == "bfloat16"
    parameters = policy.trainable_parameters()
    # 2 layers x (q, v) x (A, B), and the head's weight and bias
    assert len(parameters) == 2 * 2 * 2 + 2
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    trained = {id(parameter) for parameter in parameters}
    assert all(id(p) in trained or not p.requires_grad for p in policy.causal_lm.parameters())


def test_there_is_one_copy_of_the_weights(tiny_llama: Any, word_tokenizer: Any) -> None:
    model = tiny_llama()
    before = sum(parameter.numel() for parameter in model.parameters())
    policy = Policy(PolicySettings(model="tiny", prompt_template="none"), model, word_tokenizer)
    trained = sum(parameter.numel() for parameter in policy.trainable_parameters())
    head = sum(parameter.numel() for parameter in policy.value_head.parameters())
    assert sum(parameter.numel() for parameter in policy.causal_lm.parameters()) == before + trained - head


def test_values_are_zero_until_trained(tiny_policy: Any) -> None:
    policy = tiny_policy(dtype="bfloat16")
    values = policy.values(hidden(policy))
    assert values.dtype == torch.float32
    assert (values == 0).all()


def test_dropout_is_active_where_it_is_asked_for_only(tiny_policy: Any) -> None:
    policy = tiny_policy(dropout=0.5, perturbed=True)
    assert torch.equal(hidden(policy), hidden(policy))
    with policy.adapter_dropout():
        assert not torch.equal(hidden(policy), hidden(policy))
    assert torch.equal(hidden(policy), hidden(policy))


# --- padding and masks -----------------------------------------------------------------------------------------------


def test_rows_alone_give_what_they_give_in_a_batch(tiny_policy: Any) -> None:
    policy = tiny_policy(perturbed=True)
    with torch.no_grad():
        together = policy.response_hidden(BATCH)
    for row in range(2):
        alone = BATCH.rows(torch.tensor([row]))
        assert torch.allclose(hidden(policy, alone), together[row][BATCH.response_mask[row]], atol=1e-4)


def test_padding_ids_are_never_looked_at(tiny_policy: Any) -> None:
    policy = tiny_policy(perturbed=True)
    other = TokenBatch.build([[1, 2, 3], [4]], [[5, 6], [7, 8, 9, 0]], pad_token_id=11)
    assert torch.allclose(hidden(policy), hidden(policy, other), atol=1e-5)


def test_end_tokens_in_a_prompt_are_read(tiny_policy: Any) -> None:
    """Token 0 is padding and end of sequence; in a prompt it closes a turn and must be attended to."""
    policy = tiny_policy(perturbed=True)
    with_end = TokenBatch.build([[0, 0, 3]], [[5]], pad_token_id=0)
    without = TokenBatch.build([[3]], [[5]], pad_token_id=0)
    assert not torch.allclose(hidden(policy, with_end), hidden(policy, without), atol=0.01)


def test_hidden_states_predict_their_own_token(tiny_policy: Any) -> None:
    policy = tiny_policy(perturbed=True)
    with torch.no_grad():
        whole = policy.causal_lm(input_ids=torch.tensor([[4, 7, 8, 9, 0]])).logits[0].log_softmax(-1)
        logits = policy.project(policy.response_hidden(BATCH)[1]).log_softmax(-1)
    expected = [float(whole[place, token]) for place, token in enumerate([7, 8, 9, 0])]
    assert [float(logits[place, token]) for place, token in enumerate([7, 8, 9, 0])] == pytest.approx(
        expected, abs=1e-4
    )


# --- skipping the frozen layers, on several architectures ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes", "targets"),
    [("mistral", {"sliding_window": 3}, QV), ("qwen3", {}, QV), ("gpt2", {}, ("c_attn",))],
)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_skipping_frozen_layers_changes_nothing(
    small_model: Any, word_tokenizer: Any, kind: str, changes: dict[str, Any], targets: tuple[str, ...]
) -> None:
    model = small_model(kind, **changes)
    lora = LoraSettings(target_modules=targets, layers=1)
    policy = Policy(PolicySettings(model=kind, prompt_template="none", lora=lora), model, word_tokenizer)
    assert policy.frozen.depth == 2
    with policy.frozen.capture() as captured:
        whole = hidden(policy)
    object.__setattr__(BATCH, "frozen_hidden", captured[0])
    calls: list[int] = []
    layers = next(module for module in model.base_model.modules() if isinstance(module, torch.nn.ModuleList))
    handles = [
        layer.mlp.register_forward_hook(lambda *_, index=i: calls.append(index)) for i, layer in enumerate(layers)
    ]
    try:
        assert torch.equal(hidden(policy), whole)
    finally:
        object.__setattr__(BATCH, "frozen_hidden", None)
        for handle in handles:
            handle.remove()
    assert calls == [2]  # the upper layer ran, the two below did not
    assert torch.equal(hidden(policy), whole)  # and they run again afterwards


# --- loading ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def model_directory(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    directory = tmp_path / "model"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


def settings(model: Path | str, **changes: Any) -> PolicySettings:
    return PolicySettings(
        **{"model": str(model), "prompt_template": "none", "dtype": "float32", "device": "cpu", **changes}
    )


def test_an_sft_adapter_is_merged_so_that_the_reference_is_the_sft_model(model_directory: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    sft = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model_directory),
        LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False),
    ).eval()
    sft.save_pretrained(str(tmp_path / "sft"))
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        expected = sft(input_ids=ids).logits
        policy = Policy.load(settings(tmp_path / "sft"))
        with policy.reference():
            assert torch.allclose(policy.causal_lm(input_ids=ids).logits, expected, atol=1e-4)
        assert torch.allclose(policy.causal_lm(input_ids=ids).logits, expected, atol=1e-4)
        base = AutoModelForCausalLM.from_pretrained(model_directory)(input_ids=ids).logits
    assert not torch.allclose(base, expected, atol=0.01)


def test_what_cannot_be_loaded_is_said(tmp_path: Path, model_directory: Path) -> None:
    with pytest.raises(ModelError, match="missing.*there is no such directory"):
        Policy.load(settings(tmp_path / "missing/model"))
    with pytest.raises(ModelError, match=r"(?s)cannot load 'gpt\.\.2'.*Give a bundled name"):
        Policy.load(settings("gpt..2"))
    (model_directory / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot load"):
        Policy.load(settings(model_directory))


def test_settings_that_do_not_fit_the_model_are_said(model_directory: Path) -> None:
    with pytest.raises(ConfigError, match="layers is 4, but the model has 3 layers"):
        Policy.load(settings(model_directory, lora=LoraSettings(layers=4)))
    with pytest.raises(ConfigError, match=r"\['query'\].*down_proj, .*q_proj"):
        Policy.load(settings(model_directory, lora=LoraSettings(target_modules=("query",))))
    with pytest.raises(ConfigError, match="tokenizer has no chat template.*alpaca, vicuna"):
        Policy.load(settings(model_directory, prompt_template="chat"))
    with pytest.raises(ConfigError, match="Did you mean 'alpaca'"):
        Policy.load(settings(model_directory, prompt_template="alpacca"))
    with pytest.raises(ConfigError, match="device 'cudda' cannot be used"):
        Policy.load(settings(model_directory, device="cudda"))


def test_dtype_and_device() -> None:
    cpu = torch.device("cpu")
    assert pick_dtype("float32", cpu) == torch.float32
    assert pick_dtype("bfloat16", cpu) == torch.bfloat16
    assert pick_dtype("auto", cpu) in {torch.float32, torch.bfloat16}
    assert pick_dtype("auto", torch.device("meta")) == torch.float32
    assert pick_device("cpu") == cpu


def move(policy: Policy) -> None:
    with torch.no_grad():
        for parameter in policy.trainable_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def test_a_policy_trained_on_an_sft_adapter_loads_with_it(model_directory: Path, tmp_path: Path) -> None:
    """PEFT records the model that it was given; the adapter merged into that before would be lost."""
    sft = Policy.load(settings(model_directory))
    move(sft)
    sft.save_adapter(tmp_path)
    trained = Policy.load(settings(tmp_path), seed=1)
    move(trained)
    expected = hidden(trained)
    trained.save_adapter(checkpoint := tmp_path / "step-1")
    assert json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tmp_path)
    assert torch.allclose(hidden(Policy.load(settings(checkpoint))), expected, atol=1e-4)


def test_an_adapter_names_a_bundled_model_as_every_machine_knows_it(chat_policy: Policy) -> None:
    named = PolicySettings(model="smollm2-135m-instruct", lora=LoraSettings(layers=1))
    assert Policy.load(named)._adapted.peft_config["default"].base_model_name_or_path == "smollm2-135m-instruct"


# --- prompts ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chat_policy(tiny_llama: Any) -> Policy:
    """SmolLM2's own tokenizer (padding is end of sequence, token 2) on a tiny Llama."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"))
    model = tiny_llama(vocabulary=len(tokenizer), layers=1, eos=2)
    return Policy(PolicySettings(model="tiny"), model, tokenizer)


def test_a_prompt_is_written_with_the_chat_template(chat_policy: Policy) -> None:
    text = chat_policy.tokenizer.decode(chat_policy.prompts.encode("Where is Oslo?"))
    assert text.endswith("<|im_start|>user\nWhere is Oslo?<|im_end|>\n<|im_start|>assistant\n")
    assert chat_policy.prompts.encode([{"role": "user", "content": "Where is Oslo?"}]) == chat_policy.prompts.encode(
        "Where is Oslo?"
    )
    assert (chat_policy.pad_token_id, chat_policy.eos_token_ids) == (2, {2})


def test_a_prompt_is_written_with_a_named_template(chat_policy: Policy, tiny_llama: Any) -> None:
    named = PolicySettings(model="tiny", prompt_template="alpaca")
    policy = Policy(named, tiny_llama(vocabulary=49152, layers=1, eos=2), chat_policy.tokenizer)
    text = policy.tokenizer.decode(policy.prompts.encode("Where is Oslo?"))
    assert text.endswith("### Instruction:\nWhere is Oslo?\n\n### Response:")


def test_a_system_prompt_is_added_unless_the_conversation_has_one(chat_policy: Policy, tiny_llama: Any) -> None:
    with_system = PolicySettings(model="tiny", system_prompt="Answer briefly.")
    policy = Policy(with_system, tiny_llama(vocabulary=49152, layers=1, eos=2), chat_policy.tokenizer)
    assert "<|im_start|>system\nAnswer briefly.<|im_end|>" in policy.tokenizer.decode(policy.prompts.encode("Hi"))
    own = policy.prompts.encode([{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Hi"}])
    assert "Answer briefly." not in policy.tokenizer.decode(own)


def test_completions_are_decoded_uncut(chat_policy: Policy) -> None:
    ids = chat_policy.tokenizer(" Oslo is\n\n\n\nin Norway .")["input_ids"]
    assert chat_policy.decode([*ids, 2]) == " Oslo is\n\n\n\nin Norway ."


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_an_adapter_comes_back_as_it_was(tiny_policy: Any, tmp_path: Path) -> None:
    policy = tiny_policy(perturbed=True, layers=2)
    policy.save_adapter(tmp_path)
    other = tiny_policy(layers=2)
    other.load_adapter(tmp_path)
    assert torch.equal(hidden(other), hidden(policy))
    assert torch.equal(other.values(hidden(other)), policy.values(hidden(policy)))


def test_peft_itself_loads_the_adapter(tiny_policy: Any, tiny_llama: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = tiny_policy(perturbed=True)
    policy.save_adapter(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_llama(), str(tmp_path)).eval()
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, policy.causal_lm(input_ids=ids).logits)


def test_a_checkpoint_that_does_not_fit_or_is_damaged_is_said(tiny_policy: Any, tmp_path: Path) -> None:
    tiny_policy(layers=1).save_adapter(tmp_path)
    with pytest.raises(StoreError, match="other layers, modules or rank"):
        tiny_policy(layers=2).load_adapter(tmp_path)
    assert set(load_file(tmp_path / "value_head.safetensors")) == {"weight", "bias"}
    (tmp_path / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(StoreError, match="cannot load the checkpoint"):
        tiny_policy(layers=1).load_adapter(tmp_path)
    with pytest.raises(StoreError, match="delete it to have it trained again"):
        tiny_policy().load_adapter(tmp_path / "nowhere")
