"""Causal language models of many kinds: a policy's log-probabilities are those of the model's own logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from proxygold.errors import ModelError
from proxygold.models.generation import sample
from proxygold.models.policy import Policy
from proxygold.models.policy_settings import LoraSettings, PolicySettings, SamplingSettings
from proxygold.models.projection import find_projection

QV = ("q_proj", "v_proj")
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
# model type: what it needs beside `small_model`'s sizes, and its attention's linear layers
ARCHITECTURES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "gemma2": ({"final_logit_softcapping": 2.0, "attn_logit_softcapping": 3.0, "sliding_window": 4}, QV),
    "gemma3_text": ({"sliding_window": 4}, QV),
    "cohere": ({"logit_scale": 0.25}, QV),
    "granite": ({"logits_scaling": 3.0}, QV),
    "mistral": ({"sliding_window": 4}, QV),
    "qwen2": ({}, QV),
    "qwen3": ({}, QV),
    "qwen3_moe": (EXPERTS, QV),
    "mixtral": (EXPERTS, QV),
    "olmo2": ({}, QV),
    "phi3": ({}, ("qkv_proj",)),
    "stablelm": ({}, QV),
    "smollm3": ({}, QV),
    "gpt2": ({"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}, ("c_attn",)),
    "gpt_neox": ({}, ("query_key_value",)),
    "opt": ({"word_embed_proj_dim": 32}, QV),
    "falcon": ({"without": ("head_dim",)}, ("query_key_value",)),
    "bloom": ({"n_layer": 3, "n_head": 4}, ("query_key_value",)),
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_sampling_and_training_see_the_models_own_log_probabilities(
    kind: str, small_model: Any, word_tokenizer: Any
) -> None:
    changes, targets = ARCHITECTURES[kind]
    model = small_model(kind, **changes)
    lora = LoraSettings(target_modules=targets, layers=2)
    policy = Policy(PolicySettings(model=kind, prompt_template="none", lora=lora), model, word_tokenizer)
    with torch.no_grad():  # an adapter that does something
        for parameter in policy.trainable_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))

    prompts = [[1, 2, 3, 4, 5], [6, 7]]
    samples = sample(
        policy,
        prompts,
        SamplingSettings(max_new_tokens=6),
        np.random.default_rng(0).random((4, 6)),
        keep_frozen_hidden=True,
    )
    batch = samples.batch
    with torch.no_grad():
        trained = policy.project(policy.response_hidden(batch).flatten(0, 1)).float().log_softmax(-1)
    trained = trained.reshape(*batch.response_ids.shape, -1)
    for row in range(4):
        prompt, response = prompts[row // 2], samples.response(row)
        ids = torch.tensor([[*prompt, *response]])
        with torch.no_grad():
            own = model(input_ids=ids).logits[0].float().log_softmax(-1)[len(prompt) - 1 : -1]
        expected = own.gather(1, torch.tensor(response)[:, None]).squeeze(1)
        torch.testing.assert_close(samples.logprobs[row, : len(response)], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(trained[row, : len(response)], own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "granite"])
def test_gradients_pass_a_cap_or_a_scale(kind: str, small_model: Any) -> None:
    model = small_model(kind, **ARCHITECTURES[kind][0])
    ids = torch.tensor([[3, 4, 5]])
    hidden = model.base_model(input_ids=ids).last_hidden_state[0].detach().requires_grad_()
    find_projection(kind, model)(hidden)[1, 2].backward()
    whole = model.base_model(input_ids=ids).last_hidden_state
    own = torch.autograd.grad(_logits(model, whole)[0, 1, 2], whole)[0][0]
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad, own)


def _logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The three models' last steps, written out."""
    config, logits = model.config, model.lm_head(hidden)
    if config.model_type == "gemma2":
        return torch.tanh(logits / config.final_logit_softcapping) * config.final_logit_softcapping
    return logits * config.logit_scale if config.model_type == "cohere" else logits / config.logits_scaling


def test_logits_that_depend_on_more_than_hidden_states_are_refused(small_model: Any) -> None:
    model = small_model("qwen2")
    plain = model.forward
    model.forward = lambda input_ids, **keywords: _shifted(plain(input_ids=input_ids, **keywords), input_ids)
    with pytest.raises(ModelError, match="cannot be computed from its last hidden states alone"):
        find_projection("odd", model)


def _shifted(output: Any, ids: torch.Tensor) -> Any:
    output.logits = output.logits + ids[..., None]
    return output
