"""fluency, how likely a language model finds the completion."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.registry import Feature, FeatureValues, Parameter, reasoned, register_feature
from proxygold.models.bundled import BUNDLED_POLICY
from proxygold.records import Example
from proxygold.templates import TEMPLATES

__all__ = ["fluency"]

_TEMPLATES = ("chat", *TEMPLATES)


def fluency(
    examples: Sequence[Example],
    context: FeatureContext,
    *,
    model: str = BUNDLED_POLICY,
    template: str = "chat",
    max_length: int = 0,
    dtype: str = "float32",
) -> FeatureValues:
    """fluency = (1/T) Σ log p(ŷ_t | x, ŷ_<t): the mean log-probability of the completion's T tokens, in nats.

    p is a reference language model's, given the prompt: -log of its perplexity. `template` writes the prompt for
    it: "chat" by the tokenizer's own chat template, else a named template ("none" is the bare prompt). The
    completion is taken whole and tokenised by itself, as it would have been generated, without the token that ends
    a turn. Of prompt and completion together `max_length` tokens are read (0: 1,024, or what the model reads if
    that is less); what is more goes from the prompt's start down to half of them, then from the completion's end.
    `dtype` is that of the weights, "float32" or "bfloat16"; log-probabilities are float32 in both.

    Source: perplexity under a reference model, as Ziegler et al. 2019 keep a policy near to one.

    Range: below 0; -1 to -3 for good text under a small model, about -11 for random tokens. An empty completion
    gets the log-probability that the model ends at once. NaN, with the reason, where the template cannot write the
    conversation. How it is gamed: by repetition and commonplaces, which any language model finds very likely, so
    that nothing is more fluent than one phrase for ever. Multiply by RP, or clip it: `clip(fluency, -8, -2)`.
    """
    from proxygold.models.fluency import load_fluency_model

    values, reasons = load_fluency_model(model, template, dtype, max_length).score(examples)
    return reasoned(values, [reason and f"fluency: {reason}" for reason in reasons])


register_feature(
    Feature(
        name="fluency",
        long_name="fluency",
        compute=fluency,
        models=lambda arguments: [str(arguments["model"])],
        parameters=MappingProxyType(
            {
                "model": Parameter(
                    BUNDLED_POLICY,
                    "a language model: a bundled name, a hub id or a directory, in quotes",
                    lambda value: isinstance(value, str) and value.strip() != "",
                ),
                "template": Parameter("chat", ", ".join(map(repr, _TEMPLATES)), lambda value: value in _TEMPLATES),
                "max_length": Parameter(
                    0,
                    "a whole number of tokens from 2, or 0 for the default",
                    lambda value: type(value) is int and (value == 0 or value >= 2),
                ),
                "dtype": Parameter(
                    "float32", "'float32' or 'bfloat16'", lambda value: value in ("float32", "bfloat16")
                ),
            }
        ),
    )
)
