"""The data sets that are known by name: where each is published, its splits, and how a row of it becomes a prompt.

A row is read as it was published, from the hub or from a file that somebody downloaded. The addresses are of the files
themselves, because the loading scripts that some of these repositories have are not run by `datasets` any more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal

from proxygold.data.alpaca import from_alpaca
from proxygold.data.dolly import from_dolly
from proxygold.data.hh import first_query, from_hh
from proxygold.data.sharegpt import from_sharegpt, sharegpt_key
from proxygold.data.ultrafeedback import from_ultrafeedback
from proxygold.errors import ConfigError

__all__ = ["PUBLISHED", "PublishedForm", "Role", "fitting_forms", "get_form"]

# What a study reads a set for.
Role = Literal["train", "dev", "validation"]


@dataclass(frozen=True, slots=True)
class PublishedForm:
    """One data set.

    `dataset` is its id on the hub. `splits` maps the name of a split to the sources of its rows, `roles` what a set is
    read for to the split that is read unless another is named. `convert` makes a row with `prompt`, `reference` and
    perhaps `query_type` and `id` out of a published one, or raises DataError. Of rows with the same `copies` only the
    first is taken; None takes all. `columns`: by which a row of this form is recognised.
    """

    name: str
    dataset: str
    splits: Mapping[str, tuple[str, ...]]
    roles: Mapping[Role, str]
    convert: Callable[[Mapping[str, Any]], dict[str, Any]]
    columns: frozenset[str]
    copies: Callable[[Mapping[str, Any]], Hashable] | None = None

    def sources(self, split: str | None, role: Role) -> tuple[str, ...]:
        """Where the rows are. Raises ConfigError for a split that it does not have."""
        chosen = split or self.roles[role]
        if chosen not in self.splits:
            raise ConfigError(f"{self.name} has no split {chosen!r}. Allowed: {', '.join(self.splits)}.")
        return self.splits[chosen]


_HH = "Anthropic/hh-rlhf"
_HELPFUL = ("helpful-rejection-sampled", "helpful-online")
_ALPACA = frozenset({"instruction", "output"})
_TRAIN_AND_TEST: Mapping[Role, str] = {"train": "train", "dev": "test", "validation": "test"}


def _hh(parts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {
        split: tuple(f"hf://datasets/{_HH}/{part}/{split}.jsonl.gz" for part in parts) for split in ("train", "test")
    }


def _only(split: str) -> dict[Role, str]:
    return {"train": split, "dev": split, "validation": split}


_FARM = {
    split: (f"hf://datasets/tatsu-lab/alpaca_farm/alpaca_instructions/{split}.json",)
    for split in ("sft", "preference", "unlabeled", "val")
}

_FORMS = (
    # First turns of the two sub-splits that the paper names, each query once.
    PublishedForm(
        "hh_helpful",
        _HH,
        _hh(_HELPFUL),
        _TRAIN_AND_TEST,
        first_query,
        frozenset({"chosen"}),
        copies=lambda row: row["prompt"],
    ),
    # All four sub-splits of preferences: 160,800 train rows. The red-team attempts have another form.
    PublishedForm(
        "hh",
        _HH,
        _hh(("harmless-base", "helpful-base", *_HELPFUL)),
        _TRAIN_AND_TEST,
        from_hh,
        frozenset({"chosen", "rejected"}),
    ),
    PublishedForm(
        "alpaca_farm",
        "tatsu-lab/alpaca_farm",
        _FARM,
        {"train": "unlabeled", "dev": "val", "validation": "val"},
        from_alpaca,
        _ALPACA,
    ),
    PublishedForm("alpaca_farm_val", "tatsu-lab/alpaca_farm", _FARM, _only("val"), from_alpaca, _ALPACA),
    PublishedForm(
        "alpaca", "tatsu-lab/alpaca", {"train": ("hub:tatsu-lab/alpaca:train",)}, _only("train"), from_alpaca, _ALPACA
    ),
    PublishedForm(
        "dolly",
        "databricks/databricks-dolly-15k",
        {"train": ("hub:databricks/databricks-dolly-15k:train",)},
        _only("train"),
        from_dolly,
        frozenset({"instruction", "context", "response"}),
    ),
    PublishedForm(
        "sharegpt",
        "anon8231489123/ShareGPT_Vicuna_unfiltered",
        {
            "train": (
                "hf://datasets/anon8231489123/ShareGPT_Vicuna_unfiltered/ShareGPT_V3_unfiltered_cleaned_split.json",
            )
        },
        _only("train"),
        from_sharegpt,
        frozenset({"conversations"}),
        copies=sharegpt_key,
    ),
    PublishedForm(
        "ultrafeedback",
        "openbmb/UltraFeedback",
        {"train": ("hub:openbmb/UltraFeedback:train",)},
        _only("train"),
        from_ultrafeedback,
        frozenset({"instruction", "completions"}),
    ),
    PublishedForm(
        "alpaca_eval",
        "tatsu-lab/alpaca_eval",
        {"eval": ("hf://datasets/tatsu-lab/alpaca_eval/alpaca_eval.json",)},
        _only("eval"),
        from_alpaca,
        _ALPACA | {"generator"},
    ),
)

PUBLISHED: Mapping[str, PublishedForm] = MappingProxyType({form.name: form for form in _FORMS})


def get_form(name: str) -> PublishedForm:
    """The data set called `name`. Raises ConfigError for any other."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    near = get_close_matches(name, PUBLISHED, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"there is no data set called {name!r}; known: {', '.join(PUBLISHED)}.{hint}")


def fitting_forms(row: Mapping[str, Any]) -> list[str]:
    """The names of the data sets whose rows look like this one, those that ask for most columns first."""
    fits = [form for form in _FORMS if form.columns <= row.keys()]
    most = max((len(form.columns) for form in fits), default=0)
    return [form.name for form in fits if len(form.columns) == most]
