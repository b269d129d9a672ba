"""What the pages under docs/ say can be typed, can be."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from proxygold import reward
from proxygold.data.published import PUBLISHED
from proxygold.features.registry import feature_names, find_feature
from proxygold.study.config import DataSettings
from proxygold.templates import TEMPLATES

DOCS = Path(__file__).parents[1] / "docs"


def test_every_built_in_feature_is_listed_with_its_arguments() -> None:
    page = (DOCS / "features.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name in feature_names():
        feature = find_feature(name)
        assert feature is not None
        if feature.source or not feature.compute.__module__.startswith("proxygold.features"):
            continue  # registered by another test
        row = next((row for row in rows if f"`{feature.name}`" in row.split("|")[1]), None)
        assert row is not None, feature.name
        own = set(feature.parameters) - ({"words", "unit", "model"} if "those of `length`" in row else set())
        assert [argument for argument in sorted(own) if f"`{argument}=" not in row] == [], feature.name


def test_every_line_to_begin_with_is_a_reward() -> None:
    page = (DOCS / "features.md").read_text(encoding="utf-8")
    lines = page.split("```")[-2].strip().splitlines()
    assert len(lines) > 4
    for line in lines:
        assert reward(str(reward(line))) == reward(line)


def test_links_between_pages_hold() -> None:
    for page in DOCS.rglob("*.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)


def test_data_sets_and_templates_are_listed_and_the_examples_are_settings() -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    for name in (*PUBLISHED, *TEMPLATES):
        assert f"| `{name}`" in page, name
    examples = [yaml.safe_load(text)["data"] for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(examples) == 3
    for example in examples:
        DataSettings.model_validate(example)
