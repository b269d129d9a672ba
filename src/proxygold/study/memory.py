"""How much memory a policy takes while it is trained, told before it is loaded or downloaded.

Weights, adapter and cache are counted from the model's configuration, or from `policy.shape`; what passes keep beside
them, by running them without content (`pass_memory.py`). It is the most there can be: every completion of full length,
after the longest prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from proxygold.models.hub import is_here
from proxygold.models.policy_settings import PolicySettings
from proxygold.models.policy_shape import check_shape
from proxygold.study.config import Study
from proxygold.study.pass_memory import pass_peak, without_content

if TYPE_CHECKING:
    import torch

__all__ = ["ASSUMED_PROMPT_TOKENS", "PolicyMemory", "policy_memory"]

# Where prompts are not known yet. Longer than most of the paper's: single queries of some dozens of tokens, templated.
ASSUMED_PROMPT_TOKENS = 256

# While a token is drawn, for each logit: what the output layer gave, and in float32 itself, its distance from the
# largest one, and its weight, twice.
_BYTES_A_LOGIT = 2 + 4 * 4

# Of a quantised weight: LLM.int8(); NF4 with a constant of one byte for 64 weights, and one of four for 256 of these.
_QUANTISED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 1 / 64 + 4 / (64 * 256)}

# Adapter and value head are float32, each with its gradient and Adam's two moments.
_BYTES_TRAINED = 4 * 4


@dataclass(frozen=True, slots=True)
class PolicyMemory:
    """Bytes, by what holds them.

    `weights`: the one copy of the frozen model that policy and reference share. `trained`: adapter and value head with
    gradients and optimiser. `kept`: hidden states below the adapter, kept from sampling for the passes of a step. Then,
    never at once: `sampling`, keys and values of a batch of rollouts, the logits of a token, and of small float32
    models on a CPU their linear layers once more, in the layout in which they decode fast; `comparing`, a pass over all
    rollouts without gradients; `updating`, a mini-batch forward and backward.
    """

    weights: int
    trained: int
    kept: int
    sampling: int
    comparing: int
    updating: int

    @property
    def peak(self) -> int:
        return self.weights + self.trained + self.kept + max(self.sampling, self.comparing, self.updating)


def policy_memory(study: Study, prompt_tokens: int = ASSUMED_PROMPT_TOKENS, processes: int = 1) -> PolicyMemory:
    """Count it, for prompts of at most `prompt_tokens`, in one of `processes`, which share the rollouts.

    Reads nothing but a configuration, and with a shape not that. Raises ModelError when the configuration cannot be
    read, ConfigError when the adapter or `policy.shape` does not fit it.
    """
    import torch

    from proxygold.models.causal_lm import decoder_layers, pick_device, pick_dtype
    from proxygold.models.policy import add_lora

    policy, training = study.policy, study.training
    config = _configuration(policy)
    text = config.get_text_config()
    dtype = pick_dtype(policy.dtype, pick_device(policy.device))
    size = torch.finfo(dtype).bits // 8
    model = without_content(policy, config, dtype)
    weights = _weight_bytes(model, policy, size)
    layers = len(decoder_layers(model))
    adapted = min(policy.lora.layers or layers, layers)
    add_lora(model, policy.lora)
    copied = _copied_bytes(model, policy, dtype)
    adapter = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    rows, per_pass = (math.ceil(count / processes) for count in (training.batch_size, training.rollouts_per_pass))
    new_tokens = training.max_new_tokens
    length = prompt_tokens + new_tokens
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    keys = rows * heads * length * head_size * size
    passes = partial(pass_peak, policy, config, dtype, adapted, prompt_tokens, new_tokens)
    return PolicyMemory(
        weights=weights,
        trained=(adapter + text.hidden_size + 1) * _BYTES_TRAINED,
        # As sampled, those of the rollouts that have a reward, and of those a mini-batch.
        kept=(2 * rows + per_pass) * (length - 1) * text.hidden_size * size if adapted < layers else 0,
        # One layer's are held twice while rows that have ended leave.
        sampling=copied + (2 * layers + 2) * keys + rows * text.vocab_size * _BYTES_A_LOGIT,
        comparing=passes(rows, gradients=False),
        updating=passes(per_pass, gradients=True),
    )


def _weight_bytes(model: Any, policy: PolicySettings, size: int) -> int:
    """Of the frozen model: `size` each, but for the layers' linear modules where they are quantised."""
    from torch import nn

    from proxygold.models.causal_lm import decoder_layers

    every: int = sum(parameter.numel() for parameter in model.parameters())
    if policy.quantization == "none":
        return every * size
    modules = [module for module in decoder_layers(model).modules() if isinstance(module, nn.Linear)]
    linear: int = sum(module.weight.numel() for module in modules)
    return (every - linear) * size + int(linear * _QUANTISED_BYTES[policy.quantization])


def _copied_bytes(model: Any, policy: PolicySettings, dtype: torch.dtype) -> int:
    """What sampling will copy."""
    import torch
    from torch import nn

    from proxygold.models.causal_lm import pick_device
    from proxygold.models.prepacked import MOST_BYTES

    if pick_device(policy.device).type != "cpu" or dtype != torch.float32 or policy.quantization != "none":
        return 0
    weights = [module.weight for module in model.modules() if type(module) is nn.Linear]
    copied: int = sum(weight.nbytes for weight in weights if not weight.requires_grad)
    return copied if copied <= MOST_BYTES else 0


def _configuration(policy: PolicySettings) -> Any:
    """The model's, from its shape when it is not on this machine."""
    from proxygold.models.causal_lm import load_config

    if policy.shape is not None and not is_here(policy.model):
        return policy.shape.as_config()
    config = load_config(policy.model)
    check_shape(policy.shape, config, policy.model)
    return config
