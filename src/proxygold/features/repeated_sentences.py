"""repeated_sentences, the share of sentences that were said before."""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.features.context import FeatureContext
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["repeated_sentences"]


def repeated_sentences(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """repeated_sentences = 1 - distinct sentences / sentences of the completion.

    It finds the loop that a policy falls into when it is paid for length. Source: seq-rep-n of Welleck et al. 2020,
    "Neural Text Generation with Unlikelihood Training", with sentences in place of n-grams. Sentences are those of
    `proxygold.text.sentences`, in the completion cut at the first stop string; letter case and white space make no
    difference.

    Range: 0 (none twice) to below 1 (the same one over and over). A completion of no or one sentence gets 0. Higher is
    worse: write `1 - repeated_sentences`. How it is gamed: change a word, or a number, each time; RP sees more.

    >>> example = Example(prompt="Say it.", completion="I will. I  WILL. I will. No.")
    >>> repeated_sentences([example], FeatureContext()).values.tolist()
    [0.5]
    """
    return reasoned([_repeated_share(context.sentences(example.completion)) for example in examples])


def _repeated_share(sentences: Sequence[str]) -> float:
    distinct = {" ".join(sentence.casefold().split()) for sentence in sentences}
    return 1 - len(distinct) / len(sentences) if sentences else 0.0


register_feature(
    Feature(
        name="repeated_sentences",
        long_name="repeated_sentences",
        compute=repeated_sentences,
        uses_stop_strings=True,
    )
)
