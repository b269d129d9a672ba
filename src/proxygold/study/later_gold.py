"""Gold's scores for answers that are there already: of a run that left gold for later, here or on another machine.

Only `study.yaml` and the rollouts are read: no prompt file, no policy, no checkpoint need be here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import yaml

from proxygold.errors import ConfigError, StoreError
from proxygold.store import ArmDirectory, RunDirectory
from proxygold.study.changes import FREE, differences, is_scored, listed
from proxygold.study.conclude import conclude
from proxygold.study.config import GoldSettings
from proxygold.study.loading import parse_settings
from proxygold.study.progress import StudyProgress
from proxygold.study.scoring import Answers, check_gold, gold_identity, score_answers
from proxygold.study.stages import StudyResult
from proxygold.training.processes import current_processes

__all__ = ["score_gold"]


def score_gold(run: RunDirectory, overrides: Sequence[str], progress: StudyProgress) -> StudyResult:
    """Score with gold what it has not scored, and judge. `overrides` are `gold.KEY=VALUE`, put over the study's gold.

    Raises StoreError when this is no run, has no answers, or was scored with another gold before; ConfigError for
    settings; and what the gold model raises.
    """
    study = run.read_study()
    processes = current_processes()
    with run.lock() if processes.first else nullcontext():
        own = dict(study.get("gold") or {})
        if not own and not overrides:
            raise ConfigError(f"{run.path} names no gold reward. Give one: gold.model=MODEL.")
        gold = parse_settings(
            GoldSettings,
            yaml.safe_dump(own),
            [text.removeprefix("gold.") for text in overrides],
            source=f"gold of {run.path}",
        )
        arms = processes.from_first(lambda: _begin(run, study, gold))
        chosen_by = (study.get("choice") or {}).get("by", "proxy")
        # Dev answers are for gold only where it is gold that chooses.
        more = [] if chosen_by == "proxy" else [arm.dev for arm in arms]
        score_answers([Answers(arm) for arm in (*arms, *more)], gold, progress)
        analysis, report = processes.from_first(lambda: conclude(run))
    return StudyResult(run, analysis, report, run.read_rejected())


def _begin(run: RunDirectory, study: Mapping[str, Any], gold: GoldSettings) -> list[ArmDirectory]:
    """Check that gold can score this run, write down that it does, and return what has answers."""
    arms = run.arms()
    if not any(arm.rollout_steps() for arm in arms):
        raise StoreError(f"{run.path} has no answers yet. `proxygold run` or `proxygold rollout` makes them.")
    check_gold(gold)
    _record(run, study, gold, gold_identity(gold))
    return arms


def _record(run: RunDirectory, study: Mapping[str, Any], gold: GoldSettings, identity: Mapping[str, str]) -> None:
    """Write down which gold scores. Raises StoreError when another one has scored some answers already.

    The study keeps the gold that it names, which may lie elsewhere on this machine; one that names none gets this one.
    """
    record = run.read_provenance()
    fixed = record.get("fixed", {})
    # With the defaults of today, should the run be of an earlier version.
    own = GoldSettings.model_validate(study["gold"]).model_dump(mode="json") if study.get("gold") else {}
    asked = gold.model_dump(mode="json")
    free = {place.removeprefix("gold.") for place in FREE if place.startswith("gold.")}
    # Where the same weights lie is not what decides a score.
    moved = {
        f"gold.{place}": values
        for place, values in differences(own, asked).items()
        if own and place not in free and place != "model"
    }
    moved |= {f"gold.{place}": values for place, values in differences(fixed.get("gold", identity), identity).items()}
    if moved and is_scored(run):
        raise StoreError(
            f"gold has scored some answers of {run.path} already, and this is another one: {listed(moved)}. Put it "
            "back, or work on a copy of the directory without its scores."
        )
    if own.get("model") != gold.model or moved or fixed.get("gold") != identity:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        news = f"{when} gold scored as {gold.name}" + (f": {listed(moved)}" if moved else "")
        run.write_provenance(
            {**record, "fixed": {**fixed, "gold": dict(identity)}, "changes": [*record.get("changes", []), news]}
        )
    if not own:
        run.write_study({**study, "gold": asked})
