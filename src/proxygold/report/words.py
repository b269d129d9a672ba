"""The verdict in plain words, and what it leaves out."""

from __future__ import annotations

from collections.abc import Sequence

from proxygold.analysis.results import RunAnalysis
from proxygold.analysis.verdict import INCONCLUSIVE, OVER_OPTIMISED, SUCCESS, UNRELATED
from proxygold.store import RunDirectory

__all__ = ["headline", "left_out"]

# One reward, several rewards.
SENTENCES = {
    SUCCESS: ("{} stands in for the gold reward.", "{} stand in for the gold reward."),
    OVER_OPTIMISED: ("{} was over-optimised.", "{} were over-optimised."),
    UNRELATED: ("{} does not track gold.", "{} do not track gold."),
    INCONCLUSIVE: ("{} is not settled yet.", "{} are not settled yet."),
}


def headline(analysis: RunAnalysis) -> str:
    """One sentence for each verdict that was reached, the best first: `RER stands in for the gold reward. LI was …`."""
    sentences = []
    for verdict, (one, several) in SENTENCES.items():
        names = [reward.reward for reward in analysis.rewards if reward.verdict.name == verdict]
        if names:
            sentences.append((one if len(names) == 1 else several).format(_listed(names)))
    return " ".join(sentences)


def left_out(run: RunDirectory) -> str | None:
    """How many prompts were left out before training and where they are listed; None when none were."""
    splits = [row["split"] for row in run.read_rejected()]
    if not splits:
        return None
    where = " and ".join(
        f"{splits.count(split)} to {purpose}"
        for split, purpose in (("train", "train on"), ("validation", "validate on"), ("dev", "choose by"))
        if split in splits
    )
    were = "prompt was" if len(splits) == 1 else "prompts were"
    return (
        f"{len(splits)} {were} left out before training ({where}); {run.rejected_file.name} in the run's directory "
        "lists each with its reason."
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
