"""Published files as they really are, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxygold.data.prompt_sets import read_prompt_set
from proxygold.data.source_settings import SourceSettings

SHARED = Path(__file__).parents[2] / "../shared/data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at ../shared/data")
@pytest.mark.parametrize(
    ("source", "name", "rows"),
    [
        ("validation/alpaca_eval.json.gz", "alpaca_eval", (805, 0, 0)),
        ("validation/alpacafarm_val.json.gz", "alpaca_farm_val", (2000, 0, 0)),
        ("hh_rlhf/helpful-online/test.jsonl.gz", "hh", (1137, 0, 0)),
        ("hh_rlhf/helpful-online/test.jsonl.gz", "hh_helpful", (1094, 0, 43)),
    ],
)
def test_the_published_files_are_read(source: str, name: str, rows: tuple[int, int, int]) -> None:
    found = read_prompt_set(SourceSettings(source=str(SHARED / source), name=name))
    assert (len(found.records), len(found.rejected), found.repeated) == rows
    # One answer of AlpacaFarm's is empty: it is no reference.
    assert sum(record.reference is None for record in found.records) == (name == "alpaca_farm_val")
