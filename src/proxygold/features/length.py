"""length, how long a completion is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.options import WORDS, one_of
from proxygold.features.registry import Argument, Feature, FeatureValues, Parameter, reasoned, register_feature
from proxygold.features.tokens import token_counts
from proxygold.models.bundled import BUNDLED_ENCODER
from proxygold.records import Example, FloatArray

__all__ = ["LENGTH_PARAMETERS", "length", "lengths", "tokenizers_of"]


def length(
    examples: Sequence[Example],
    context: FeatureContext,
    *,
    unit: str = "words",
    words: str = "wordpunct",
    model: str = BUNDLED_ENCODER,
) -> FeatureValues:
    """length = words, characters, sentences or tokens of the completion, as `unit` says.

    Source: the plain count that LI divides by 100; Singhal et al. 2023 reward it in tokens. `words` are those
    of LI; characters are Unicode code points; sentences are found by the rules of `proxygold.text.sentences`;
    tokens are those of the tokenizer of `model` (a bundled name, a directory or a hub id), without special tokens
    and however long the text is. All of the completion cut at the first stop string and stripped.

    Range: whole numbers from 0, which an empty completion gets, without limit. How it is gamed: as LI is; a unit
    is gamed by itself, sentences by full stops, characters by long words, tokens by rare ones.

    >>> example = Example(prompt="Where is Oslo?", completion="In Norway. Far north.")
    >>> [length([example], FeatureContext(), unit=unit).values.tolist() for unit in ("words", "sentences")]
    [[6.0], [2.0]]
    """
    return reasoned(lengths(examples, context, unit, words, model))


def lengths(examples: Sequence[Example], context: FeatureContext, unit: str, words: str, model: str) -> FloatArray:
    """The (n,) lengths of the trimmed completions."""
    completions = [example.completion for example in examples]
    if unit == "words":
        return context.word_batch(completions, words).counts.astype(np.float64)
    if unit == "tokens":
        return token_counts(model, [context.trimmed(completion) for completion in completions])
    measure = context.sentences if unit == "sentences" else context.trimmed
    return np.array([len(measure(completion)) for completion in completions], dtype=np.float64)


def tokenizers_of(arguments: Mapping[str, Argument]) -> Sequence[str]:
    """The checkpoints whose files decide the value: that of the tokenizer, where it is used."""
    return (str(arguments["model"]),) if arguments["unit"] == "tokens" else ()


LENGTH_PARAMETERS: Mapping[str, Parameter] = MappingProxyType(
    {
        "unit": one_of("words", "characters", "sentences", "tokens"),
        "words": WORDS,
        "model": Parameter(
            BUNDLED_ENCODER,
            "a bundled model, a directory or a hub id, in quotes",
            lambda value: isinstance(value, str) and bool(value.strip()),
        ),
    }
)

register_feature(
    Feature(
        name="length",
        long_name="length",
        compute=length,
        uses_stop_strings=True,
        models=tokenizers_of,
        parameters=LENGTH_PARAMETERS,
    )
)
