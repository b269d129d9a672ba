"""The kinds of reward models that are computed here: which one a checkpoint is, how it is loaded, read and checked."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.errors import ConfigError, ModelError
from proxygold.models.bundled import resolve_model
from proxygold.models.causal_lm import pick_device, pick_dtype
from proxygold.models.checkpoint_names import tensor_names
from proxygold.models.classifiers import adapter_base, first_line, load_classifier, load_reward_tokenizer
from proxygold.models.length_batches import positions_of
from proxygold.models.local_reward_model import LocalRewardModel, Read, read_classifier
from proxygold.models.preference_models import T5_MAX_LENGTH, is_t5, load_preference_model, preference_of
from proxygold.models.quiet import quiet_loading
from proxygold.models.reward_inputs import Encode, encode_completion, encode_pair, encode_preference, encode_written
from proxygold.models.reward_settings import CHAT, RewardModelSettings
from proxygold.models.value_heads import head_of, renamed_to_classifier

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_local", "load_local"]

_DEFAULT_MAX_LENGTH = 1_024


def load_local(settings: RewardModelSettings, path: str) -> LocalRewardModel:
    """The reward model in the directory or hub repository `path`. Raises ModelError and ConfigError."""
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    config, kind = _kind_of(settings, path)
    if kind == "t5-preference":
        model = load_preference_model(path, settings.name, dtype)
    else:
        model = load_classifier(path, settings.name, dtype, _renamed(settings, path, kind))
    tokenizer, encode, read = _reading(settings, path, kind)
    return LocalRewardModel(
        settings.name,
        model.to(device),
        tokenizer,
        max_length=_max_length(settings, config, kind),
        batch_size=settings.batch_size,
        encode=encode,
        read=read,
        form=" ".join([kind, *([settings.template] if settings.template else [])]),
    )


def check_local(settings: RewardModelSettings, path: str) -> None:
    """Raise what `load_local` would, as far as that can be told without reading the weights."""
    import torch

    pick_device(settings.device)
    config, kind = _kind_of(settings, path)
    renamed = _renamed(settings, path, kind)
    # On this device a checkpoint's names and shapes are read, and nothing else. Of a hub repository not even these, for
    # they are in files of gigabytes.
    if adapter_base(path) is None and Path(path).is_dir():
        if kind == "t5-preference":
            load_preference_model(path, settings.name, torch.float32, device_map="meta")
        else:
            load_classifier(path, settings.name, torch.float32, renamed, device_map="meta")
    elif kind in ("classifier", "deberta-pair") and config.num_labels != 1 and _is_classifier(config):
        raise ModelError(
            f"{settings.name!r} has {config.num_labels} outputs; a reward model has one. "
            "Choose a reward model, not a classifier."
        )
    _max_length(settings, config, kind)
    _reading(settings, path, kind)


def _kind_of(settings: RewardModelSettings, path: str) -> tuple[Any, str]:
    """The model's configuration, and its kind: the one that is asked for, else what the checkpoint tells."""
    from transformers import AutoConfig

    name, base = settings.name, adapter_base(path)
    try:
        with quiet_loading():
            config = AutoConfig.from_pretrained(path if base is None else resolve_model(base))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"cannot load {name!r} as a reward model: {first_line(error)}\n"
            "Give gold-mini, the hub id or the directory of a reward model, or an adapter's directory."
        ) from error
    kind: str = settings.kind
    if kind == "t5-preference" and not is_t5(config):
        raise ModelError(f"{name!r} is a {config.model_type}, not a T5 that writes text. Leave out kind.")
    if kind != "auto":
        return config, kind
    if base is None and is_t5(config):
        raise ConfigError(
            f"{name!r} is a T5 that writes text. If it was trained to say which of two responses is better, as "
            "SteamSHP was, say so: kind: t5-preference. Any other is no reward model."
        )
    head = None if base is not None else head_of(tensor_names(path, name))
    if head is None:
        return config, "classifier"
    if settings.template is None:
        raise ConfigError(
            f"{name!r} is a language model with the value head {head}, which does not say how a conversation is "
            "written for it. Give template: chatml for Starling-RM-34B, ultrarm for UltraRM-13B, another name, or chat "
            "for the tokenizer's own."
        )
    return config, "value-head"


def _renamed(settings: RewardModelSettings, path: str, kind: str) -> Mapping[str, str] | None:
    if kind != "value-head":
        return None
    return renamed_to_classifier(tensor_names(path, settings.name), path, settings.name)


def _reading(settings: RewardModelSettings, path: str, kind: str) -> tuple[Any, Encode, Read]:
    """The tokenizer, how an example becomes tokens, and how the score is read."""
    name = settings.name
    tokenizer = load_reward_tokenizer(settings.tokenizer or path, settings.tokenizer or name)
    if kind == "t5-preference":
        return tokenizer, encode_preference, preference_of(tokenizer, name)
    if kind == "deberta-pair":
        return tokenizer, encode_pair, read_classifier
    if settings.template == CHAT and not tokenizer.chat_template:
        raise ModelError(
            f"template is chat, and the tokenizer of {name!r} has no chat template. Name the format that the model was "
            "trained on, or give the tokenizer of another model."
        )
    if settings.template in (None, CHAT):
        return tokenizer, encode_completion, read_classifier
    return tokenizer, partial(encode_written, settings.template), read_classifier


def _max_length(settings: RewardModelSettings, config: Any, kind: str) -> int:
    asked, positions = settings.max_length, positions_of(config)
    if asked is None:
        usual = T5_MAX_LENGTH if kind == "t5-preference" else _DEFAULT_MAX_LENGTH
        return min(usual, positions or usual)
    if positions is not None and asked > positions:
        raise ModelError(
            f"max_length is {asked}, but the reward model {settings.name!r} reads 1 to {positions} tokens."
        )
    return asked


def _is_classifier(config: Any) -> bool:
    return any("SequenceClassification" in kind for kind in config.architectures or ())
