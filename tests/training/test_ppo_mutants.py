"""The mutants of benchmarks/ppo_mutants.toml: each still fits the code that it breaks, and names a test that is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = tomllib.loads((ROOT / "benchmarks/ppo_mutants.toml").read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant["name"] for mutant in MUTANTS])
def test_it_fits(mutant: dict[str, str]) -> None:
    assert (ROOT / "src/proxygold" / mutant["file"]).read_text(encoding="utf-8").count(mutant["old"]) == 1
    file, _, test = mutant["test"].partition("::")
    assert f"def {test.partition('[')[0]}(" in (ROOT / "tests" / file).read_text(encoding="utf-8") or not test
