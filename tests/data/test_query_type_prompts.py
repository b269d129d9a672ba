"""The labelled prompts that the shipped classifier was trained on are what they are said to be."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import numpy as np

from proxygold.models.encoder import EncoderSettings, load_encoder


def own(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files("proxygold.data").joinpath(name).read_text("utf-8").splitlines()]


PROMPTS = own("query_type_prompts.jsonl")
BUILTIN = own("builtin_prompts.jsonl")


def test_there_are_enough_of_each_kind() -> None:
    assert len(PROMPTS) >= 700
    assert len({row["kind"] for row in PROMPTS}) >= 25
    share = Counter(row["query_type"] for row in PROMPTS)["open_ended"] / len(PROMPTS)
    assert 0.4 <= share <= 0.6
    assert len({row["id"] for row in PROMPTS}) == len(PROMPTS)
    for row in PROMPTS:
        assert set(row) == {"id", "kind", "query_type", "prompt"}
        assert row["query_type"] in ("open_ended", "closed_ended")
        assert row["prompt"] == row["prompt"].strip()
        assert row["prompt"]


def test_none_is_made_from_a_template() -> None:
    openings = Counter(tuple(re.findall(r"\w+", row["prompt"].lower())[:4]) for row in PROMPTS)
    assert openings.most_common(1)[0][1] <= len(PROMPTS) * 0.02, openings.most_common(3)


def test_no_two_are_nearly_the_same() -> None:
    texts = [row["prompt"] for row in PROMPTS + BUILTIN]
    vectors = load_encoder(EncoderSettings(normalize=True)).embed(texts)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)
    one, other = np.unravel_index(cosines.argmax(), cosines.shape)
    assert cosines.max() < 0.85, (texts[one], texts[other])
