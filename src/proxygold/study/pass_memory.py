"""How much memory a pass of a policy takes beside its parameters.

No formula says it: the model's own code runs on tensors that have a shape and no content, with two layers and with
three, and every tensor alive is counted; each further layer adds what the third did. That takes a second for any size.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from proxygold.errors import ModelError
from proxygold.models.policy_settings import PolicySettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["pass_peak", "without_content"]

# Log-probabilities are worked out in chunks that are all alike, so these say what all of them take.
_PROJECTED_ROWS = 512

# What was found out already: many studies have one shape.
_known: dict[tuple[Any, ...], int] = {}


def without_content(policy: PolicySettings, config: Any, dtype: torch.dtype) -> Any:
    """A model of this configuration whose weights have shapes only, frozen. Raises ModelError when there is none."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the policy {policy.model!r} is no causal language model: {error}") from error
    model.requires_grad_(False)
    return model.eval()


def pass_peak(
    policy: PolicySettings,
    config: Any,
    dtype: torch.dtype,
    layers: int,
    prompt_tokens: int,
    new_tokens: int,
    rows: int,
    *,
    gradients: bool,
) -> int:
    """Most bytes alive at once, beside the parameters, in a pass of `rows` rollouts through `layers` adapted layers."""

    recomputed = gradients and policy.gradient_checkpointing

    def peak(depth: int) -> int:
        few = deepcopy(config)
        text = few.get_text_config()
        text.num_hidden_layers = depth
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[-depth:]
        decides = policy.lora, policy.device, policy.gradient_checkpointing, dtype
        key = (few.to_json_string(), *decides, prompt_tokens, new_tokens, rows, gradients)
        if key not in _known:
            model = without_content(policy, few, dtype)
            _known[key] = _run(model, policy, prompt_tokens, new_tokens, rows, gradients=gradients)
        return _known[key]

    if not gradients:
        return peak(min(layers, 2))  # further layers keep nothing
    if layers <= 3 and not recomputed:
        return peak(layers)
    # Not the first and the second: into the first, no gradient flows on.
    two, three = peak(2), peak(3)
    if recomputed:
        # What enters each layer, and all of a single one.
        size: int = config.get_text_config().hidden_size
        entering = rows * (prompt_tokens + new_tokens - 1) * size * dtype.itemsize
        return two - (three - two) + layers * entering
    return two + (layers - 2) * (three - two)


def _run(model: Any, policy: PolicySettings, prompt_tokens: int, new_tokens: int, rows: int, *, gradients: bool) -> int:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from proxygold.models.causal_lm import pick_device
    from proxygold.models.policy import EAGER_SCORES, add_lora
    from proxygold.training.ppo_math import token_logprobs

    add_lora(model, policy.lora.model_copy(update={"layers": None}))
    for name, module in model.named_modules():
        if gradients and "lora_dropout" in name:
            module.train()  # as in an update, and there alone
    length = prompt_tokens + new_tokens - 1  # nothing is predicted from the last token
    written_out = pick_device(policy.device).type == "cpu" and rows * length**2 <= EAGER_SCORES
    if written_out and not policy.gradient_checkpointing:
        model.config._attn_implementation = "eager"
    size: int = model.config.get_text_config().hidden_size
    with FakeTensorMode(), torch.set_grad_enabled(gradients):
        _fill(model)
        value_head = torch.nn.Linear(size, 1)
        ids = torch.zeros(rows, length, dtype=torch.long)
        projected = min(rows * new_tokens, _PROJECTED_ROWS)
        targets = torch.zeros(projected, dtype=torch.long)
        with _count_bytes(model.parameters()) as counted:
            hidden = _trunk_pass(model, ids)[:, prompt_tokens - 1 :].reshape(-1, size)
            logprobs, _ = token_logprobs(model.get_output_embeddings(), hidden[:projected], targets)
            values = value_head(hidden.float())
            if not gradients:
                return counted.peak
            (logprobs.sum() + values.sum()).backward()
    # The gradients of all log-probabilities with respect to the hidden states, by chunks and joined.
    gradients_kept: int = 2 * (rows * new_tokens - projected) * size * hidden.element_size()
    return counted.peak + gradients_kept


def _trunk_pass(model: Any, ids: Tensor) -> Tensor:
    import torch

    rows, length = ids.shape
    # A mask that is given whole: one by rows would be looked at, to be left out where it masks nothing.
    # Where attention is written out it is added, else it says which scores count.
    eager = model.config._attn_implementation == "eager"
    mask = torch.ones(rows, 1, length, length, dtype=model.dtype if eager else torch.bool)
    try:
        output = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    except Exception:  # noqa: BLE001 - whatever a model's code makes of such a mask (BLOOM counts positions in it)
        output = model.base_model(input_ids=ids, use_cache=False)
    hidden: Tensor = output.last_hidden_state
    return hidden


def _fill(model: nn.Module) -> None:
    """Put tensors of the fake mode that is on in the place of those on the meta device, tied ones tied."""
    import torch

    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                    made[id(parameter)] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


class _Counted:
    """Bytes of the storages that were made since, and are alive; and the most there were."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.alive = self.peak = 0
        # Kept here, so that no later storage is taken for one of these.
        self._parameters = {storage._cdata: storage for storage in (each.untyped_storage() for each in parameters)}
        self._known: dict[int, weakref.ref[Any]] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known and key not in self._parameters:
            self._known[key] = weakref.ref(storage, lambda _: self._drop(key, size))
            self.alive += size
            self.peak = max(self.peak, self.alive)

    def _drop(self, key: int, size: int) -> None:
        self._known.pop(key, None)
        self.alive -= size


@contextmanager
def _count_bytes(parameters: Iterable[Tensor]) -> Iterator[_Counted]:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    counted = _Counted(parameters)

    class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(out):
                if isinstance(leaf, torch.Tensor):
                    counted.add(leaf)
            return out

    with Counting():  # type: ignore[no-untyped-call]
        yield counted
