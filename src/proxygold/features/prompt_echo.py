"""prompt_echo, how much of a completion is the prompt's own words."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from proxygold.features.context import FeatureContext
from proxygold.features.options import WORDS, size_of_ngrams
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example
from proxygold.templates import user_text
from proxygold.text import ngrams, split_words

__all__ = ["prompt_echo"]


def prompt_echo(
    examples: Sequence[Example], context: FeatureContext, *, n: int = 3, words: str = "wordpunct"
) -> FeatureValues:
    """prompt_echo = the completion's n-grams that are in the prompt / its n-grams, trigrams unless `n` says otherwise.

    It finds the policy that is paid for relevance (QR) and repeats the question. Source: ours, after the n-gram
    overlap of summarisation (See et al. 2017, "Get To The Point": the share of copied n-grams). The prompt is the
    user's text, of a conversation all user turns. `words` are those of LI; letter case is ignored; the completion is
    cut at the first stop string.

    Range: 0 (nothing copied) to 1 (nothing else). Where completion or prompt has fewer than `n` words, its own number
    of words takes the place of `n`; an empty one gives 0. So `Paris` to `Paris or Rome?` is 1: a low weight suits it.
    Higher is worse: write `1 - prompt_echo`. How it is gamed: say it in other words.

    >>> example = Example(prompt="Why is the sky blue?", completion="Why is the sky blue? Air scatters light.")
    >>> prompt_echo([example], FeatureContext()).values.tolist()  # 10 words, 8 trigrams, 4 of them the prompt's
    [0.5]
    """
    prompts: dict[str, list[str]] = {}
    values = []
    for example in examples:
        prompt = user_text(example.prompt)
        if prompt not in prompts:
            prompts[prompt] = split_words(prompt.lower(), words)
        # Lowered first, then split: `İ` becomes two characters, and both sides must see the same.
        said = split_words(context.trimmed(example.completion).lower(), words)
        values.append(_copied_share(prompts[prompt], said, n))
    return reasoned(values)


def _copied_share(prompt: Sequence[str], said: Sequence[str], n: int) -> float:
    size = min(n, len(prompt), len(said))
    if not size:
        return 0.0
    known = set(ngrams(prompt, size))
    return sum(map(known.__contains__, ngrams(said, size))) / (len(said) - size + 1)


register_feature(
    Feature(
        name="prompt_echo",
        long_name="prompt_echo",
        compute=prompt_echo,
        uses_stop_strings=True,
        parameters=MappingProxyType({"n": size_of_ngrams(3), "words": WORDS}),
    )
)
