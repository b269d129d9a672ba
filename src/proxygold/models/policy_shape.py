"""The sizes of a policy, written into a study so that its memory can be planned before the model is downloaded.

A shape describes a decoder of Llama's form (Llama, Vicuna, Mistral, SmolLM2): grouped attention, a gated MLP,
RMSNorm, no biases. It decides nothing in a run: there the model's own configuration does, and one that says
otherwise is an error. Importable without torch.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

from proxygold.errors import ConfigError

__all__ = ["PolicyShape", "check_shape"]

# Our names beside transformers'.
_CONFIG_NAMES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocab_size": "vocab_size",
    "tied": "tie_word_embeddings",
}


class PolicyShape(BaseModel):
    """`kv_heads` None: as many as `heads`. `tied`: the output layer is the embedding, so it is counted once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt | None = None
    vocab_size: PositiveInt
    tied: bool = False

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size ({self.hidden_size}) must be a multiple of heads ({self.heads})")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self

    @property
    def sizes(self) -> dict[str, int | bool]:
        """The values by transformers' names, `kv_heads` resolved."""
        values = {**self.model_dump(), "kv_heads": self.kv_heads or self.heads}
        return {theirs: values[ours] for ours, theirs in _CONFIG_NAMES.items()}

    def as_config(self) -> Any:
        """A transformers configuration of this shape."""
        from transformers import LlamaConfig

        return LlamaConfig(**self.sizes)


def check_shape(shape: PolicyShape | None, config: Any, model: str) -> None:
    """Raise ConfigError when `shape` is not that of `config`, the configuration of `model`. None is any shape."""
    if shape is None:
        return
    text = config.get_text_config()
    differing = []
    for ours, theirs in _CONFIG_NAMES.items():
        given, own = shape.sizes[theirs], getattr(text, theirs, None)
        if ours == "kv_heads" and own is None:
            own = text.num_attention_heads  # as transformers takes it
        if given != own:
            differing.append(f"{ours} is {given}, the model's is {own}")
    if differing:
        raise ConfigError(
            f"policy.shape is not the shape of {model!r}: {'; '.join(differing)}. It only serves to plan without a "
            "download: correct it, or leave it out (policy.shape=null)."
        )
