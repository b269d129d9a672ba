"""What may change in a study when its run goes on: whatever decided no result that is written already."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from proxygold.errors import StoreError
from proxygold.store import RunDirectory
from proxygold.study.config import Study

__all__ = ["allowed_changes", "differences", "is_scored", "listed"]

# These settings, and all inside them. Every other one decided what was trained, answered or scored, and stays.
FREE = (
    "data.gold_training",  # only counted with, when a run begins
    "analysis",  # the verdict is made anew from the scores whenever a run ends
    "choice.by",  # and so is the choice of a checkpoint
    "training.save_every",  # how much a stopped run repeats
    "training.keep",  # how much disk it takes
    "training.keep_validated",
    "training.trackers",  # who else is told
    "training.max_nan_share",  # when a run gives up; no number depends on it
    "validation.batch_size",  # every answer has random numbers of its own
    "encoder.batch_tokens",  # an embedding does not depend on what shares its batch
    "encoder.cache",  # nor on where it is kept
    "gold.batch_size",  # nor does gold's score
    "gold.url",  # nor on where it is served: what is served there is recorded and compared as `fixed` (begin.py)
    "policy.shape",  # it serves to plan; a run reads the model's own
    "policy.device",  # where the same numbers are computed
    "encoder.device",
    "gold.device",
    "policy.dtype",  # what `auto` became is recorded and compared as `fixed` (begin.py), not the word
    "gold.dtype",
)


def allowed_changes(run: RunDirectory, study: Study) -> dict[str, tuple[Any, Any]]:
    """What differs between `study` and the one that `run` goes on with: setting to its old and new value.

    Raises StoreError when a setting differs that must not. Beside `FREE`, gold may change while it has scored nothing,
    dev prompts and how they choose while none is answered, `training.steps` as long as it is not below what is trained,
    and seeds may be added at the end.
    """
    asked = study.model_dump(mode="json")
    written = run.read_study()
    requested = run.read_provenance().get("requested", written)
    # The lines as they were typed, or as they were resolved: the run's own study.yaml is the same study.
    lines = written["rewards"] if asked["rewards"] == written["rewards"] else requested["rewards"]
    found = differences({**written, "rewards": lines}, asked)
    scored, trained = is_scored(run), _trained(run)
    choosing = any(arm.dev.rollout_steps() for arm in run.arms())
    refused = {}
    for place, (old, new) in found.items():
        may = (
            any(place == free or place.startswith(f"{free}.") for free in FREE)
            or (place.startswith("gold.") and not scored)
            or (place.split(".")[0] == "choice" and not choosing)
            or (place.startswith("data.dev") and not choosing)
            or (place == "training.steps" and new >= trained)
            or (place == "seeds" and new[: len(old)] == old)
        )
        if not may:
            refused[place] = (old, new)
    if refused:
        why = f" Step {trained} is trained already." if "training.steps" in refused else ""
        raise StoreError(
            f"{run.path} holds a run of a different study; they differ in {listed(refused)}.{why} Nothing was changed. "
            "Give this study another name (name=…), or remove that directory."
        )
    return found


def differences(old: Any, new: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """The places, as dotted names, where two nested mappings differ, each with both values; None where it is not."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*old, *(key for key in new if key not in old)]:
            found |= differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
        return found
    return {} if old == new else {place: (old, new)}


def listed(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Differences in words."""
    return ", ".join(
        f"{place} (was {reprlib.repr(old)}, is {reprlib.repr(new)})" for place, (old, new) in sorted(found.items())
    )


def is_scored(run: RunDirectory) -> bool:
    """Whether gold has scored any answer of the run."""
    return any(arm.scored_steps("gold") or arm.dev.scored_steps("gold") for arm in run.arms())


def _trained(run: RunDirectory) -> int:
    """The furthest step that has a checkpoint."""
    return max((step for arm in run.arms() for step in arm.checkpoint_steps()), default=0)
