"""What `export` reads and prints: prompts that the reward can be asked about, and what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proxygold.data.builtin import Split
from proxygold.data.prompt_sets import read_prompt_set
from proxygold.errors import DataError
from proxygold.integrations.export.spec import ExportSpec
from proxygold.records import PromptRecord
from proxygold.rewards.probe import unscorable_prompts
from proxygold.rewards.runtime import Reward

__all__ = ["print_export", "read_export_prompts"]


def read_export_prompts(source: str, split: Split, reward: Reward) -> tuple[list[PromptRecord], list[str]]:
    """The prompts of a source that have what the reward requires, and why others were left out.

    A source is `builtin`, the name of a known data set, a file, or a data set of the hub.

    Raises DataError when none is left.
    """
    found = read_prompt_set(source, split)
    rejected = list(map(str, found.rejected))
    pairs = list(zip(found.records, unscorable_prompts(reward, found.records), strict=True))
    kept = [record for record, reason in pairs if reason is None]
    rejected += [f"{source}: {record.id}: {reason}" for record, reason in pairs if reason is not None]
    if not kept:
        listed = "\n".join(f"  {row}" for row in rejected[:5])
        raise DataError(f"no prompt of {source} can be used. The first:\n{listed}")
    return kept, rejected


def print_export(trainer: str, spec: ExportSpec, files: Sequence[Path], rejected: Sequence[str]) -> None:
    """Say what was written, what was left out, and how to launch."""
    counts = f"{len(spec.train):,} train and {len(spec.validation):,} validation prompts"
    print(f"wrote {len(files)} files for {trainer}: {counts}, reward {spec.line}")
    for file in files:
        print(f"  {file}")
    if rejected:
        print(f"{len(rejected):,} prompts left out:")
        for row in rejected[:5]:
            print(f"  {row}")
        if len(rejected) > 5:
            print(f"  and {len(rejected) - 5:,} more")
    print(f"launch with: {files[0].parent / 'launch.sh'}")
