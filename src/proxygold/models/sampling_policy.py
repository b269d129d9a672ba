"""A model to be sampled from and not trained: a policy whose fresh adapter changes nothing.

Sampling goes through `Policy`, whatever the model: its loop knows how to decode fast and draws each answer from a
random stream of its own.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from proxygold.errors import ConfigError
from proxygold.models.bundled import resolve_model
from proxygold.models.causal_lm import (
    eos_token_ids,
    load_causal_lm,
    load_config,
    load_tokenizer,
    pick_device,
    pick_dtype,
)
from proxygold.models.policy import Policy, adaptable_modules
from proxygold.models.policy_settings import LoraSettings, PolicySettings
from proxygold.models.prompt_tokens import PromptTokens

__all__ = ["end_tokens", "load_sampling_policy", "load_sampling_prompts"]


def load_sampling_policy(settings: PolicySettings, base: str | None = None) -> Policy:
    """The model of `settings`; given `base`, it is an adapter, and is put on that one in place of the base it names.

    Raises what `Policy.load` raises, whatever modules this model has: the adapter is on its last layer's first.
    """
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    model = load_causal_lm(settings.model, dtype, device, settings.quantization, base=base)
    lora = LoraSettings(r=1, alpha=1, layers=1, target_modules=adaptable_modules(model)[:1])
    return Policy(settings.model_copy(update={"lora": lora}), model, _tokenizer(settings.model, base))


def load_sampling_prompts(settings: PolicySettings, base: str | None = None) -> PromptTokens:
    """How that model reads prompts, without its weights. Raises ConfigError for a template that does not fit it."""
    try:
        return PromptTokens(settings, _tokenizer(settings.model, base), load_config(base or settings.model))
    except ConfigError as error:
        # The message names a study's key; here an option was given.
        raise ConfigError(f"{settings.model}: {str(error).replace('policy.prompt_template', '--template')}") from error


def end_tokens(path: str, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer of the whole model in `path`, told without its weights. Raises ModelError."""
    from transformers import GenerationConfig

    try:
        settings = GenerationConfig.from_pretrained(path)
    except OSError:
        settings = None  # a model need not have any: the tokenizer's end token counts then
    return eos_token_ids(SimpleNamespace(generation_config=settings), tokenizer)


def _tokenizer(model: str, base: str | None) -> Any:
    own = Path(resolve_model(model)).expanduser()
    if base is not None and not (own / "tokenizer_config.json").exists():
        return load_tokenizer(base)
    return load_tokenizer(model)
