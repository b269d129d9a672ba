"""The policy: a causal language model with a LoRA adapter and a value head. The reference is the same model,
adapter off.

One copy of the weights is in memory. The trunk is whatever transformers loads; it is called through its own
code, so that masks, positions and attention stay the model's. Adapter and value head are float32 whatever the
trunk's dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from proxygold.errors import ConfigError, StoreError
from proxygold.models.causal_lm import (
    decoder_layers,
    eos_token_ids,
    load_causal_lm,
    load_tokenizer,
    pick_device,
    pick_dtype,
)
from proxygold.models.frozen_prefix import FrozenPrefix
from proxygold.models.gradient_checkpointing import checkpoint_layers
from proxygold.models.llama_decoder import LlamaDecoder, can_decode
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.models.prepacked import prepacked_linears
from proxygold.models.projection import find_projection
from proxygold.models.prompt_tokens import PromptTokens
from proxygold.models.shared_prompts import can_pack, pack, unpack
from proxygold.models.token_batch import TokenBatch
from proxygold.store import write_whole

__all__ = ["Policy", "adaptable_modules", "add_lora"]

# Backward through scaled_dot_product_attention is slow on CPUs at the lengths of short rollouts: written out,
# attention took 0.40 s against 0.67 s (SmolLM2-135M, 12 layers, 16 x 83 tokens, bfloat16). But every layer keeps
# rows x length² scores a head for it, hence the bound.
EAGER_SCORES = 2**19


class Policy:
    """A model to sample from and to train. Make one with `Policy.load`."""

    def __init__(self, settings: PolicySettings, model: Any, tokenizer: Any, *, seed: int = 0) -> None:
        """Adapt a loaded causal language model in place. Raises ConfigError when the adapter does not fit it."""
        self.settings = settings
        self.tokenizer = tokenizer
        self.device: torch.device = model.device
        self.eos_token_ids = eos_token_ids(model, tokenizer)
        self.pad_token_id: int = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self.eos_token_ids)
        )
        self.prompts = PromptTokens(settings, tokenizer, model.config)
        model.requires_grad_(False)
        model.eval()
        self.causal_lm = model
        self._adapted = add_lora(model, settings.lora)
        # What was asked for, and not what PEFT finds: it knows nothing of an adapter that was merged before, nor that a
        # bundled model's directory lies elsewhere on another machine.
        self._adapted.peft_config["default"].base_model_name_or_path = _portable(settings.model)
        self._adapted.eval()  # PEFT's modules begin in training mode, with dropout
        self.trunk: nn.Module = model.base_model
        self._project = find_projection(settings.model, model)
        self._can_decode: bool | None = None  # not known yet
        self.sharded = False
        hidden_size = model.config.get_text_config().hidden_size
        # No dropout on the value head, unlike TRL's (0.1): values at rollout and at update would differ by it.
        self.value_head = nn.Linear(hidden_size, 1, device=self.device)
        layers = decoder_layers(model)
        self.frozen = FrozenPrefix(layers, _lowest_adapted(layers))
        if settings.gradient_checkpointing:
            checkpoint_layers(layers[self.frozen.depth :])
        self._can_pack = can_pack(model.config) and self._packing_agrees()
        self.reset(seed)

    @classmethod
    def load(cls, settings: PolicySettings, seed: int = 0) -> Policy:
        """Load a model, merge it with its adapter when it is one, and add a fresh adapter and value head.

        Raises ModelError when the model cannot be read or used, ConfigError when the template or the adapter does not
        fit it.
        """
        device = pick_device(settings.device)
        model = load_causal_lm(settings.model, pick_dtype(settings.dtype, device), device, settings.quantization)
        return cls(settings, model, load_tokenizer(settings.model), seed=seed)

    @property
    def adapted(self) -> Any:
        """The model with its adapter as PEFT has it, for trainers of others."""
        return self._adapted

    @property
    def dtype_name(self) -> str:
        """The dtype of the frozen weights, such as `bfloat16`."""
        return str(self.causal_lm.dtype).removeprefix("torch.")

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a completion: without special tokens, otherwise uncut."""
        text: str = self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    # --- passes ---------------------------------------------------------------------------------------------

    def response_hidden(self, batch: TokenBatch) -> Tensor:
        """(n, T, d): the last hidden state from which each response token of `batch` is predicted."""
        return self._packed(batch) if batch.rows_per_prompt > 1 and self._can_pack else self._apart(batch)

    def _apart(self, batch: TokenBatch) -> Tensor:
        # Nothing is predicted from the last column.
        ids, mask, places = batch.input_ids[:, :-1], batch.attention_mask[:, :-1], batch.position_ids[:, :-1]
        return self._run(ids, mask, places, batch.frozen_hidden)[:, batch.prompt_width - 1 :]

    def _packed(self, batch: TokenBatch) -> Tensor:
        packed = pack(batch, self.causal_lm.dtype)
        return unpack(
            self._run(packed.input_ids, packed.attention_mask, packed.position_ids, packed.frozen_hidden), batch
        )

    @torch.no_grad()
    def _packing_agrees(self) -> bool:
        """Whether this model's own code takes packed rows: some compute positions from the mask (BLOOM's ALiBi)."""
        batch = TokenBatch.build([[0, 1, 2]] * 2, [[0, 1, 2], [2, 1, 0]], pad_token_id=0, device=self.device)
        apart = self._apart(batch)
        try:
            packed = self._packed(replace(batch, rows_per_prompt=2))
        except Exception:  # noqa: BLE001 - whatever a model's code makes of such a mask: its rows stay apart
            return False
        # A wrong position changes a state by about its own size, rounding in bfloat16 by a hundredth.
        return bool((packed - apart).abs().mean() <= 0.05 * apart.abs().mean())

    def _run(self, ids: Tensor, mask: Tensor, places: Tensor, frozen_hidden: Tensor | None) -> Tensor:
        eager = self.device.type == "cpu" and ids.shape[0] * ids.shape[1] ** 2 <= EAGER_SCORES
        # A layer that is computed again in the backward pass would find another attention then.
        eager = eager and not self.settings.gradient_checkpointing
        with self.frozen.replay(frozen_hidden), self._attention("eager" if eager else None):
            output = self.trunk(input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (m, V) of hidden states (m, d), in the trunk's dtype."""
        return self._project(hidden)

    def values(self, hidden: Tensor) -> Tensor:
        """Predicted return (…) of hidden states (…, d), float32."""
        value: Tensor = self.value_head(hidden.float())
        return value.squeeze(-1)

    def settle_sharded(self, device: torch.device) -> None:
        """Take note that the layers' weights were spread over processes, on `device`, and move the rest there."""
        self.sharded, self.device = True, device
        self.causal_lm.to(device)
        self.value_head.to(device)

    def decoding(self) -> AbstractContextManager[None]:
        """Inside, passes of few rows are faster, and none can have a gradient.

        The copies of weights that make them so go at the end, as those of `step_decoder` do: training needs the memory.
        """
        return nullcontext() if self.sharded or self._decodes_fast() else prepacked_linears(self.causal_lm)

    def step_decoder(self) -> LlamaDecoder | None:
        """What makes steps of one token in place of the trunk, for models that it knows."""
        return LlamaDecoder(self.causal_lm, self._project) if self._decodes_fast() else None

    def _decodes_fast(self) -> bool:
        if self._can_decode is None:
            # Sharded, no process has whole weights to copy.
            self._can_decode = not self.sharded and can_decode(self.causal_lm)
        return self._can_decode

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the model is the one the policy started from: its adapter is off."""
        with self._adapted.disable_adapter():
            yield

    @contextmanager
    def adapter_dropout(self) -> Iterator[None]:
        """Inside, LoRA dropout is active. The trunk's own dropout never is: the reference would be noisy too."""
        modules = [layer.lora_dropout for layer in self._lora_layers()]
        try:
            for module in modules:
                module.train()
            yield
        finally:
            for module in modules:
                module.eval()

    @contextmanager
    def _attention(self, implementation: str | None) -> Iterator[None]:
        config = self.causal_lm.config
        previous = config._attn_implementation
        if implementation is None or previous != "sdpa":  # a model without sdpa keeps what it has
            yield
            return
        config._attn_implementation = implementation
        try:
            yield
        finally:
            config._attn_implementation = previous

    # --- parameters -----------------------------------------------------------------------------------------

    def _lora_layers(self) -> list[LoraLayer]:
        return [module for module in self._adapted.modules() if isinstance(module, LoraLayer)]

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The adapter's parameters and the value head's, all float32, always in the same order."""
        adapter = [parameter for parameter in self._adapted.parameters() if parameter.requires_grad]
        return [*adapter, *self.value_head.parameters()]

    def reset(self, seed: int) -> None:
        """A fresh adapter, which changes nothing yet, and a value head that predicts 0: the start of another run."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for layer in self._lora_layers():
                layer.reset_lora_parameters("default", init_lora_weights=True)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def save_adapter(self, directory: Path) -> None:
        """Write the adapter in PEFT's format, which PEFT can load, and `value_head.safetensors`."""
        # Not PEFT's save_pretrained: it writes a model card, and may ask the hub about the base model.
        state = get_peft_model_state_dict(self._adapted, save_embedding_layers=False)
        _write_tensors(directory / "adapter_model.safetensors", state)
        self._adapted.peft_config["default"].save_pretrained(str(directory))
        _write_tensors(directory / "value_head.safetensors", self.value_head.state_dict())

    def load_adapter(self, directory: Path) -> None:
        """Take on what `save_adapter` wrote. Raises StoreError when it is missing, damaged or of another adapter."""
        try:
            adapter = load_file(directory / "adapter_model.safetensors")
            head = load_file(directory / "value_head.safetensors")
            expected = get_peft_model_state_dict(self._adapted, save_embedding_layers=False)
            shapes = {name: tensor.shape for name, tensor in adapter.items()}
            if shapes != {name: tensor.shape for name, tensor in expected.items()}:
                raise ValueError("its adapter has other layers, modules or rank than the policy's settings say")
            set_peft_model_state_dict(self._adapted, adapter)
            self.value_head.load_state_dict(head)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise StoreError(
                f"cannot load the checkpoint {directory}: {error}. Load it with the settings it was trained with, "
                "or delete it to have it trained again."
            ) from error


def _write_tensors(path: Path, state: dict[str, Tensor]) -> None:
    # In memory first, which an adapter is small enough for: written by safetensors itself, a full disk would not be an
    # OSError.
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_whole(path, save(on_cpu, metadata={"format": "pt"}))


def _portable(model: str) -> str:
    directory = Path(model).expanduser()
    return str(directory.resolve()) if directory.is_dir() else model


def add_lora(model: Any, lora: LoraSettings) -> Any:
    """`model` with a fresh adapter, in place. Raises ConfigError when the settings do not fit it."""
    count = len(decoder_layers(model))
    if lora.layers is not None and lora.layers > count:
        raise ConfigError(
            f"policy.lora.layers is {lora.layers}, but the model has {count} layers. Give at most {count}."
        )
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        layers_to_transform=None if lora.layers is None else list(range(count - lora.layers, count)),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # peft 0.21 reads a property that transformers 5.23 has renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            return get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(
            f"policy.lora.target_modules is {list(lora.target_modules)}, which does not fit this model ({error}). "
            f"Its linear layers are called: {', '.join(adaptable_modules(model))}."
        ) from error


def adaptable_modules(model: Any) -> tuple[str, ...]:
    """What the linear layers inside the decoder layers are called. Raises ConfigError when there is none."""
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    inside = decoder_layers(model)[-1].named_modules()
    names = sorted({name.rsplit(".", 1)[-1] for name, module in inside if isinstance(module, nn.Linear | Conv1D)})
    if not names:
        raise ConfigError(f"the decoder layers of {type(model).__name__} have no linear layer that could be adapted.")
    return tuple(names)


def _lowest_adapted(layers: nn.ModuleList) -> int:
    for index, layer in enumerate(layers):
        if any(isinstance(module, LoraLayer) for module in layer.modules()):
            return index
    raise ConfigError("policy.lora.target_modules names no module inside the model's decoder layers.")
