"""hedges, how often a completion takes back what it says."""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.features.context import FeatureContext
from proxygold.features.phrases import PhraseList
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["hedges"]

_HEDGES = PhraseList(
    """
    almost, apparently, appear, appears, approximately, arguably, assume, could, doubtful, fairly, generally,
    guess, largely, likely, mainly, may, maybe, might, mostly, often, partly, perhaps, possible, possibly,
    potentially, presumably, probable, probably, relatively, roughly, seem, seemed, seemingly, seems, sometimes,
    somewhat, suggest, suggests, suppose, supposedly, tend, tends, typically, uncertain, unclear, unlikely,
    unsure, usually,
    as far as i know, from what i know, i am not certain, i am not sure, i believe, i feel, i think, i'm not
    certain, i'm not sure, in general, in many cases, in most cases, in my opinion, in my view, in some cases, in
    some ways, it depends, kind of, more or less, not necessarily, sort of, to a degree, to an extent, to my
    knowledge, to some degree, to some extent
    """
)


def hedges(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """hedges = hedging words and phrases / words of the completion.

    Hedges (`perhaps`, `seems`, `to some extent`) hold back from full commitment to a claim. Source: the notion is that
    of Hyland 2005, "Metadiscourse"; the list is our own, English, of some 50 words and 26 phrases. A word counts
    wherever it stands, `Could you` too, and negation is not understood: it measures a style, not what a writer knows.
    Words are runs of letters, in the completion cut at the first stop string.

    Range: 0 to 1; most answers have less than 0.03. A completion without a word gets 0, as does one in a language
    other than English. How it is gamed: as a reward, put `perhaps` everywhere; as a penalty, claim it all flatly, which
    is why `boosters` stands beside it.

    >>> example = Example(prompt="Will it rain?", completion="Perhaps it will, but I think it will not.")
    >>> hedges([example], FeatureContext()).values.round(4).tolist()  # perhaps, I think; 9 words
    [0.2222]
    """
    return reasoned([_HEDGES.share(context.trimmed(example.completion)) for example in examples])


register_feature(Feature(name="hedges", long_name="hedges", compute=hedges, uses_stop_strings=True))
