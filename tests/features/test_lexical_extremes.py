"""Every lexical feature on what models really say at their worst: nothing, one mark, other scripts, 100,000 characters."""

import math
import time

import numpy as np
import pytest

from proxygold import Example, reward
from proxygold.features.registry import feature_names, find_feature

LINES = [
    "LI",
    "LI(words='whitespace')",
    "LI(words='unicode')",
    "RP",
    "RP(n=100)",
    "RP(words='unicode')",
    "length(unit='characters')",
    "length(unit='sentences')",
    "target_length",
    "distinct_n",
    "repeated_sentences",
    "compression_ratio",
    "list_density",
    "markdown_density",
    "hedges",
    "boosters",
    "refusal",
    "prompt_echo",
    "prompt_echo(words='unicode')",
    "reading_grade",
]
TEXTS = [
    "",
    " \n\t ",
    "word",
    ".",
    "🎉",
    "👩🏽‍🚀👨‍👩‍👧‍👦",
    "שלום, מה שלומך היום? טוב.",
    "كيف حالك؟ أنا بخير.",
    "我今天早上去图书馆借了三本关于历史的书。",
    "ฉันชอบกินข้าวผัดกุ้งมากที่สุด",
    "\ud83d alone \udc00",
    "a\x00b\x1cc\u200b\ufeff",
    "e\u0301" * 50,
    "\n\n\n\nall cut",
    "- \n* \n1.\n```\n|",
    "Long enough for the batch to be counted in another way than one text alone. " * 60,
]


def test_every_lexical_feature_is_here() -> None:
    tested = {line.split("(")[0] for line in LINES}
    lexical = {
        name
        for name in feature_names()
        if (feature := find_feature(name)) is not None
        and feature.name == name
        and feature.uses_stop_strings
        and not feature.uses_encoder
        and not feature.source
        and not feature.required_columns
    }
    assert lexical <= tested


@pytest.mark.parametrize("line", LINES)
def test_a_value_for_everything_and_the_same_alone_as_in_a_batch(line: str) -> None:
    scorer = reward(line)
    examples = [Example("Why is the sky blue?", text) for text in TEXTS]
    together = scorer.score(examples)
    alone = [scorer.score([example]) for example in examples]
    np.testing.assert_array_equal(together.total, [scored.total[0] for scored in alone])
    backwards = scorer.score(examples[::-1])
    np.testing.assert_array_equal(together.total, backwards.total[::-1])
    for value, reason in zip(together.total, together.reasons, strict=True):
        # Only the reading grade of what is no English has no value.
        assert math.isfinite(value) or (line == "reading_grade" and reason is not None)


# What makes a careless pattern look at everything again from each place.
ADVERSARIAL = {
    "one word": "a",
    "dots": ".",
    "spaces": " x" + " " * 50,
    "line breaks": "\n.",
    "abbreviations": "Dr. ",
    "open bold": "**a ",
    "underscores": "__a",
    "fences": "```\n",
    "bullets": "- - * 1. ",
    "quotes": '.")',
    "apostrophes": "a'",
    "apologies": "i am so i'm very sorry ",
    "Thai": "ก",
    "marks": "e\u0301",
    "pipes": "| - ",
    "sentences": "A b. ",
}


@pytest.mark.parametrize("unit", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_time_grows_with_the_length_not_with_its_square(unit: str) -> None:
    scorer = reward(" + ".join(LINES))

    def seconds(characters: int) -> float:
        text = (unit * (characters // len(unit) + 1))[:characters]
        start = time.process_time()
        scorer.score([Example(text[:1000], text)])
        return time.process_time() - start

    seconds(100)
    # Eight times the text takes eight times as long, and 64 times if some part is quadratic.
    short = min(seconds(12_500) for _ in range(3))
    assert seconds(100_000) < 24 * short + 0.05
