"""The overlap check: which prompts are in two sets of a study, and which the gold model was trained on.

A policy that is validated on prompts that it was trained on, or chosen by those that it is judged on, looks better
than it is. So train gives way to dev and validation, and dev to validation: the rows are left out and listed. What only
has a run of words in common is counted, and stays; so does what gold has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxygold.data.overlap import RUN, find_overlap
from proxygold.data.prompt_sets import read_prompt_set
from proxygold.data.published import PUBLISHED
from proxygold.data.source_settings import BUILTIN, SourceSettings
from proxygold.errors import DataError
from proxygold.models.model_card import stated_datasets
from proxygold.models.reward_models import find_reward_model
from proxygold.records import PromptRecord
from proxygold.study.config import DataSettings, GoldSettings

__all__ = ["gold_overlap", "keep_apart"]

# Which set gives way to which.
_GIVES_WAY = (("dev", "validation"), ("train", "validation"), ("train", "dev"))


def keep_apart(
    sets: Mapping[str, tuple[PromptRecord, ...]],
) -> tuple[dict[str, tuple[PromptRecord, ...]], list[dict[str, Any]], list[str]]:
    """The sets (`train`, `validation`, `dev`) without what another one has, the rows left out, and what to print.

    Raises DataError when nothing is left of a set.
    """
    kept = dict(sets)
    left_out: list[dict[str, Any]] = []
    lines = []
    for name, other in _GIVES_WAY:
        if not kept[name] or not kept[other]:
            continue
        found = find_overlap(kept[name], kept[other])
        gone = set(found.same)
        left_out += [
            {"split": name, "id": kept[name][position].id, "reason": f"the same prompt is in data.{other}"}
            for position in found.same
        ]
        lines.append(f"{name} and {other}: {_told(len(gone), f'left out of {name}', len(found.near), other)}")
        kept[name] = tuple(record for position, record in enumerate(kept[name]) if position not in gone)
        if not kept[name]:
            raise DataError(
                f"no {name} prompt is left: all {len(gone)} are in data.{other} too. A policy must be validated and "
                "chosen on prompts that it was not trained on: give other data, or another split."
            )
    return kept, left_out, lines


def gold_overlap(
    data: DataSettings, gold: GoldSettings, sets: Mapping[str, Sequence[PromptRecord]], *, has_card: bool = True
) -> list[str]:
    """What is known of gold's own training data, and of the prompts in it, to print.

    It is compared prompt by prompt where `data.gold_training` gives it; else the data sets that gold's card names are
    compared with those of the study by name. Without `has_card` no card is looked for: gold is not on this machine.
    """
    if data.gold_training is not None:
        trained = read_prompt_set(data.gold_training).records
        lines = []
        for name in ("validation", "dev", "train"):
            if sets.get(name):
                # Runs of words only for the small sets: those of a whole train set would take gigabytes.
                found = find_overlap(trained, sets[name], runs=name != "train")
                lines.append(
                    f"gold's training data ({data.gold_training}, {len(trained):,} prompts) and {name}: "
                    f"{_told(len(found.same_others), 'left in', len(found.near), name)}"
                )
        return lines
    stated = stated_datasets(find_reward_model(gold.model)) if has_card and not gold.is_remote else None
    if stated is None:
        return [f"gold {gold.name} does not state what it was trained on: data.gold_training can name a file of it"]
    known = {dataset.lower() for dataset in stated}
    settings = {"train": data.train, "dev": data.dev, "validation": data.validation}
    seen = [
        f"{name} ({dataset})"
        for name, source in settings.items()
        if source is not None and (dataset := _dataset(source)) is not None and dataset.lower() in known
    ]
    told = f"{' and '.join(seen)} may be among it" if seen else "no set of this study is named so"
    return [f"gold {gold.name} was trained on {', '.join(stated)}, as its card says: {told}"]


def _dataset(source: SourceSettings) -> str | None:
    """The hub id of the data set that prompts are from, where that is known."""
    if source.form is not None:
        return PUBLISHED[source.form].dataset
    if source.place == BUILTIN or not source.needs_download:
        return None
    if source.place.startswith("hf://"):
        return "/".join(source.place.removeprefix("hf://datasets/").split("/")[:2]).partition("@")[0]
    return source.place.removeprefix("hub:").split(":")[0]


def _told(same: int, became: str, near: int, name: str) -> str:
    if not same and not near:
        return "no prompt in common"
    parts = [f"{_count(same)} in common, {became}"] if same else []
    if near:
        parts.append(f"{_count(near)} of {name} with {RUN} words in a row in common{', left in' if same else ''}")
    return "; ".join(parts)


def _count(number: int) -> str:
    return f"{number:,} prompt{'' if number == 1 else 's'}"
