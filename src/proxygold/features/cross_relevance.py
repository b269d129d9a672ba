"""cross_relevance, how well the completion fits the query or the reference, read together by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.references import with_reference
from proxygold.features.registry import Feature, FeatureValues, Parameter, reasoned, register_feature
from proxygold.records import Example
from proxygold.templates import user_text

__all__ = ["cross_relevance"]

_DEFAULT_MODEL = "cross-encoder/ms-marco-MiniLM-L6-v2"


def cross_relevance(
    examples: Sequence[Example], context: FeatureContext, *, model: str = _DEFAULT_MODEL, to: str = "prompt"
) -> FeatureValues:
    """cross_relevance = C(x, ŷ), or C(y, ŷ) with `to="reference"`: a cross-encoder's score of two texts.

    x is the user's raw text, without template or system text (of a conversation the user turns), y the reference
    answer, ŷ the completion, whole. Unlike QR and AR the two are read together, token by token, which tells an
    answer from a text on the same topic; nothing can be kept between calls, which makes it slower. Any model that
    sentence-transformers reads as a CrossEncoder with one output; of both texts together 512 tokens are read, or
    what the model reads if that is less, the longer one losing its end.

    Source: Nogueira and Cho 2019, "Passage re-ranking with BERT"; the default model is sentence-transformers' one
    of MS MARCO.

    Range: the model's: about -11 to 11 for the default one (a logit), 0 to 1 for one with a sigmoid. An empty
    completion gets the score of the empty text. NaN, with the reason, for `to="reference"` where there is no
    reference. How it is gamed: by saying the query again as a statement; what comes after 512 tokens is not read.
    """
    from proxygold.models.cross_encoder import load_cross_encoder

    if to == "reference":
        rows, reasons = with_reference(examples, "cross_relevance")
        pairs = [(examples[row].reference or "", examples[row].completion) for row in rows]
    else:
        rows, reasons = list(range(len(examples))), [None] * len(examples)
        pairs = [(user_text(example.prompt), example.completion) for example in examples]
    values = np.full(len(examples), np.nan)
    if rows:
        values[rows] = load_cross_encoder(model).score(pairs)
    return reasoned(values, reasons)


register_feature(
    Feature(
        name="cross_relevance",
        long_name="cross_relevance",
        compute=cross_relevance,
        columns=lambda arguments: frozenset({"reference"} if arguments.get("to") == "reference" else ()),
        models=lambda arguments: [str(arguments["model"])],
        parameters=MappingProxyType(
            {
                "model": Parameter(
                    _DEFAULT_MODEL,
                    "a cross-encoder: a hub id or a directory, in quotes",
                    lambda value: isinstance(value, str) and value.strip() != "",
                ),
                "to": Parameter("prompt", "'prompt' or 'reference'", lambda value: value in ("prompt", "reference")),
            }
        ),
    )
)
