"""boosters, how assertive a completion is."""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.features.context import FeatureContext
from proxygold.features.phrases import PhraseList
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["boosters"]

_BOOSTERS = PhraseList(
    """
    absolutely, always, assuredly, certain, certainly, clear, clearly, completely, conclusively, decidedly,
    definite, definitely, demonstrably, entirely, evidently, extremely, fully, guaranteed, incontestably, indeed,
    indisputably, inevitably, invariably, irrefutably, must, never, obvious, obviously, perfectly, plainly,
    precisely, proven, really, surely, totally, truly, unarguably, undeniable, undeniably, undoubtedly,
    unmistakably, unquestionably, utterly,
    for sure, i am confident, i am sure, i know, i'm confident, i'm sure, in fact, no doubt, no question, of
    course, the fact is, the fact that, there is no way, without a doubt, without doubt, without exception,
    without question
    """
)


def boosters(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    """boosters = assertive words and phrases / words of the completion.

    Boosters (`clearly`, `never`, `without a doubt`) close a question that hedges leave open; human raters tend to take
    the assured answer for the right one (Hosking, Blunsom and Bartolo 2024, "Human Feedback is not Gold Standard").
    Source: the notion is that of Hyland 2005, "Metadiscourse"; the list is our own, English, of some 45 words and 17
    phrases. Negation is not understood: `not certain` is a booster here. Words are runs of letters, in the completion
    cut at the first stop string.

    Range: 0 to 1; most answers have less than 0.01. A completion without a word gets 0, as does one in a language other
    than English. How it is gamed: as a reward, put `certainly` everywhere; as a penalty, hedge.

    >>> example = Example(prompt="Is it round?", completion="Of course it is, and it always was.")
    >>> boosters([example], FeatureContext()).values.tolist()  # of course, always; 8 words
    [0.25]
    """
    return reasoned([_BOOSTERS.share(context.trimmed(example.completion)) for example in examples])


register_feature(Feature(name="boosters", long_name="boosters", compute=boosters, uses_stop_strings=True))
