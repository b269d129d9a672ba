"""A decoding step of models that are built like Llama, on a CPU, in as few operations as it takes.

With a dozen rows a step is mostly overhead: transformers' own code runs some sixty small operations a layer, and PEFT's
adapters ten more. Here projections of the same input are one product, adapters are part of the weights, and the heads
that share a key are one query of several rows. The weights are a second copy, in the layout of `prepacked.py`.

Which models these are is told by their parts, and then tried: one whose own step gives other numbers is left to
transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache

from proxygold.models.causal_lm import attends_to_all
from proxygold.models.decoding_cache import decoding_cache
from proxygold.models.prepacked import can_pack_linears, pack_linear, packed_linear

__all__ = ["LlamaDecoder", "can_decode"]


@dataclass(slots=True)
class _Layer:
    """A decoder layer's modules and the packed copies of its weights."""

    module: Any
    qkv: Tensor
    output: Tensor
    gate_up: Tensor
    down: Tensor


class LlamaDecoder:
    """Makes steps in place of a model whose weights it copies, with the adapters as they are now."""

    def __init__(self, model: Any, head: object) -> None:
        """`head`: what makes logits of hidden states. Only for models that `can_decode`."""
        self._trunk = model.base_model
        self._layers = [_copied(module) for module in self._trunk.layers]
        attention = self._trunk.layers[0].self_attn
        self._size: int = attention.head_dim
        self._keys = _base(attention.k_proj).out_features // self._size
        self._queries = _base(attention.q_proj).out_features // self._size
        self._scaling: float = attention.scaling
        self._head = pack_linear(head.weight) if type(head) is nn.Linear and head.bias is None else None

    def step(
        self, tokens: Tensor, positions: Tensor, mask: Tensor, cache: DynamicCache, depth: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """Add a token (n,) at `positions` (n, 1) to each row of `cache`.

        `mask`: (n, total), which tokens there are, the new one included. Returns the last hidden state, (n, d), and
        what left the lowest `depth` layers, (n, 1, d), None for 0.
        """
        rows, half = len(tokens), self._size // 2
        hidden = self._trunk.embed_tokens(tokens)
        cos, sin = self._trunk.rotary_emb(hidden[:, None], position_ids=positions)
        turned = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        # Nothing to hide where no row is padded.
        hides = None
        if not bool(mask.all()):
            hides = hidden.new_zeros(mask.shape).masked_fill_(mask == 0, -torch.inf)[:, None, None]
        frozen = None
        for number, (layer, kept) in enumerate(zip(self._layers, cache.layers, strict=True), start=1):
            heads = packed_linear(_norm(layer.module.input_layernorm, hidden), layer.qkv).view(rows, -1, self._size)
            turning, values = torch.split(heads, [self._queries + self._keys, self._keys], dim=1)
            swapped = torch.cat([turning[..., half:], turning[..., :half]], dim=-1)
            queries, keys = torch.split(turning * cos + swapped * turned, [self._queries, self._keys], dim=1)
            all_keys, all_values = kept.update(keys[:, :, None], values[:, :, None])
            # The queries that share a key stand where a sequence would: all of them see every token.
            grouped = queries.reshape(rows, self._keys, -1, self._size)
            seen = functional.scaled_dot_product_attention(
                grouped, all_keys, all_values, attn_mask=hides, scale=self._scaling
            )
            hidden = hidden + packed_linear(seen.reshape(rows, -1), layer.output)
            gate, up = packed_linear(_norm(layer.module.post_attention_layernorm, hidden), layer.gate_up).chunk(
                2, dim=-1
            )
            hidden = hidden + packed_linear(functional.silu(gate) * up, layer.down)
            if number == depth:
                frozen = hidden[:, None]
        return _norm(self._trunk.norm, hidden), frozen

    def project(self, hidden: Tensor) -> Tensor | None:
        """Logits (n, V) of hidden states (n, d); None when they are made by more than a product."""
        return None if self._head is None else packed_linear(hidden, self._head)


@torch.no_grad()
def can_decode(model: Any) -> bool:
    """Whether there is a gain for `model`, and two rows, one of them padded, come out as by its own step."""
    if not can_pack_linears(model) or not _built_like_llama(model.base_model):
        return False
    ids = torch.tensor([[0, 1, 2], [3, 1, 2]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    places = torch.tensor([[0, 0, 1], [0, 1, 2]])
    tokens, position = torch.tensor([1, 3]), places[:, -1:] + 1
    longer = torch.cat([mask, mask.new_ones(2, 1)], dim=1)
    states = []
    for decoder in (None, LlamaDecoder(model, None)):
        cache = decoding_cache(model.config, 4)
        common: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        model.base_model(input_ids=ids, attention_mask=mask, position_ids=places, **common)
        if decoder is None:
            output = model.base_model(input_ids=tokens[:, None], attention_mask=longer, position_ids=position, **common)
            states.append(output.last_hidden_state[:, 0])
        else:
            states.append(decoder.step(tokens, position, longer, cache)[0])
    return torch.allclose(states[0], states[1], rtol=1e-3, atol=1e-4 * float(states[0].abs().max()))


def _norm(module: Any, hidden: Tensor) -> Tensor:
    return functional.rms_norm(hidden, hidden.shape[-1:], module.weight, module.variance_epsilon)


def _built_like_llama(trunk: Any) -> bool:
    """Whether a trunk has Llama's parts and no others."""
    if not attends_to_all(trunk.config) or not _has(trunk, "embed_tokens", "layers", "norm", "rotary_emb"):
        return False
    for layer in trunk.layers:
        if not _has(layer, "self_attn", "mlp", "input_layernorm", "post_attention_layernorm"):
            return False
        if not _has(layer.self_attn, "q_proj", "k_proj", "v_proj", "o_proj"):
            return False
        if not _has(layer.mlp, "gate_proj", "up_proj", "down_proj", "act_fn"):
            return False
        projections = [*layer.self_attn.children(), *(layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)]
        if not all(type(_base(module)) is nn.Linear and _base(module).bias is None for module in projections):
            return False
        norms = (layer.input_layernorm, layer.post_attention_layernorm, trunk.norm)
        if not all(hasattr(norm, "variance_epsilon") for norm in norms):
            return False
    return str(trunk.config.get_text_config().hidden_act) == "silu"


def _has(module: nn.Module, *names: str) -> bool:
    return {name for name, _ in module.named_children()} == set(names)


def _copied(module: Any) -> _Layer:
    attention, mlp = module.self_attn, module.mlp
    return _Layer(
        module,
        _packed(attention.q_proj, attention.k_proj, attention.v_proj),
        _packed(attention.o_proj),
        _packed(mlp.gate_proj, mlp.up_proj),
        _packed(mlp.down_proj),
    )


def _base(module: Any) -> Any:
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


@torch.no_grad()
def _packed(*modules: Any) -> Tensor:
    """The weights of modules with the same input, one below the other."""
    return pack_linear(torch.cat([_effective(module) for module in modules]))


def _effective(module: Any) -> Tensor:
    """A weight as it acts: with the adapters that are on."""
    weight: Tensor = _base(module).weight.detach()
    if isinstance(module, LoraLayer) and not module.disable_adapters and not module.merged:
        for name in module.active_adapters:
            if name in module.lora_A:
                weight = weight + module.get_delta_weight(name)
    return weight
