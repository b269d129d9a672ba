"""A model to be sampled from: whole, or an adapter on a base of one's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from proxygold.errors import ConfigError, ModelError
from proxygold.models.causal_lm import load_causal_lm
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.sampling_policy import end_tokens, load_sampling_policy, load_sampling_prompts

CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path: Path, tiny_llama: Any, word_tokenizer: Any) -> Path:
    directory = tmp_path / "model"
    tiny_llama().save_pretrained(directory)
    word_tokenizer.save_pretrained(directory)
    return directory


def settings(model: Path, template: str = "none") -> PolicySettings:
    return PolicySettings(model=str(model), prompt_template=template, dtype="float32", device="cpu")


def test_its_own_adapter_changes_nothing(model: Path) -> None:
    ids = torch.tensor([[1, 5, 9, 2]])
    with torch.no_grad():
        logits = load_sampling_policy(settings(model)).causal_lm(input_ids=ids).logits
        assert torch.equal(logits, load_causal_lm(str(model), torch.float32, CPU)(input_ids=ids).logits)


def test_an_adapter_on_the_base_that_is_given(model: Path, tmp_path: Path, tiny_llama: Any, tiny_policy: Any) -> None:
    trained = tiny_policy(perturbed=True)
    adapter, other = tmp_path / "adapter", tmp_path / "other"
    trained.save_adapter(adapter)
    tiny_llama(seed=3).save_pretrained(other)
    ids = torch.tensor([[1, 5, 9, 2]])
    with torch.no_grad():
        on_its_own = load_causal_lm(str(adapter), torch.float32, CPU, base=str(model))(input_ids=ids).logits
        assert torch.allclose(on_its_own, trained.causal_lm(input_ids=ids).logits, atol=1e-4)
        on_another = load_causal_lm(str(adapter), torch.float32, CPU, base=str(other))(input_ids=ids).logits
        assert not torch.allclose(on_its_own, on_another, atol=1e-2)
    # The tokenizer is the base's, since the adapter has none.
    assert load_sampling_prompts(settings(adapter), str(model)).encode("w3 w1") == [3, 1]
    with pytest.raises(ModelError, match=r"model' is no adapter, so it cannot be put on .*other'. Give it as a model"):
        load_causal_lm(str(model), torch.float32, CPU, base=str(other))


def test_prompts_and_ends_are_told_without_the_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()
    prompts = load_sampling_prompts(settings(model))
    assert (prompts.encode("w2 w4"), prompts.context_length) == ([2, 4], 128)
    assert end_tokens(str(model), prompts.tokenizer) == {0}
    (model / "generation_config.json").unlink()
    assert end_tokens(str(model), prompts.tokenizer) == {0}
    with pytest.raises(ConfigError, match="--template is 'chat', but the model's tokenizer has no chat template"):
        load_sampling_prompts(settings(model, "chat"))
