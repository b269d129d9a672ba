"""The built-in prompts are what they are said to be."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from proxygold.data.builtin import builtin_prompts
from proxygold.errors import DataError
from proxygold.models.encoder import EncoderSettings, load_encoder
from proxygold.records import PromptRecord

TRAIN, VALIDATION = builtin_prompts("train"), builtin_prompts("validation")
ALL = TRAIN + VALIDATION


def test_there_are_enough_of_each_kind() -> None:
    assert len(ALL) >= 240
    assert len(VALIDATION) >= 64
    assert len({prompt.columns["domain"] for prompt in ALL}) >= 12
    for split in (TRAIN, VALIDATION):
        types = Counter(prompt.query_type for prompt in split)
        assert types["open_ended"] == types["closed_ended"] == len(split) / 2


def test_every_field_is_filled() -> None:
    assert len({prompt.id for prompt in ALL}) == len(ALL)
    for prompt in ALL:
        assert isinstance(prompt.prompt, str), prompt.id
        assert prompt.reference, prompt.id
        for text in (prompt.prompt, prompt.reference):
            assert text == text.strip(), prompt.id
            assert text, prompt.id
        assert set(prompt.columns) == {"domain"}, prompt.id


def plain(prompt: PromptRecord) -> list[str]:
    return re.findall(r"\w+", str(prompt.prompt).lower())


def test_no_prompt_occurs_twice() -> None:
    assert len({tuple(plain(prompt)) for prompt in ALL}) == len(ALL)


def test_none_is_made_from_a_template() -> None:
    # A template shows as the same opening or the same ending again and again.
    assert Counter(tuple(plain(prompt)[:4]) for prompt in ALL).most_common(1)[0][1] <= 6
    assert Counter(tuple(plain(prompt)[-4:]) for prompt in ALL).most_common(1)[0][1] <= 6


def test_no_two_are_nearly_the_same() -> None:
    vectors = load_encoder(EncoderSettings(normalize=True)).embed([str(prompt.prompt) for prompt in ALL])
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)
    one, other = np.unravel_index(cosines.argmax(), cosines.shape)
    assert cosines.max() < 0.85, (ALL[one].prompt, ALL[other].prompt)
    # Word overlap (Jaccard) sees what an encoder may not: the same question about another thing.
    bags = [set(plain(prompt)) for prompt in ALL]
    overlap, left, right = max((len(a & b) / len(a | b), i, j) for (i, a), (j, b) in combinations(enumerate(bags), 2))
    assert overlap < 0.6, (ALL[left].prompt, ALL[right].prompt)


def test_the_splits_are_the_only_ones() -> None:
    assert not {prompt.id for prompt in TRAIN} & {prompt.id for prompt in VALIDATION}
    with pytest.raises(DataError, match="no split 'test'. Allowed: train, validation"):
        builtin_prompts("test")  # type: ignore[arg-type]
