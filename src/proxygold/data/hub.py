"""Data sets of the Hugging Face hub as sources of rows, by the package `datasets`.

    hub:NAME  hub:NAME:SPLIT  hub:NAME:CONFIG:SPLIT     a data set; NAME is OWNER/NAME, or a directory in its form
    hf://datasets/OWNER/NAME[@REVISION]/FILES           its JSONL, JSON or Parquet files; FILES may be a pattern

A data set is downloaded once, into the hub's own cache, and read from there in constant memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxygold.data.files import RawRows, source_format
from proxygold.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["HubSource", "find_hub_source", "is_hub_name"]

_HUB, _URL = "hub:", "hf://"


@dataclass(frozen=True, slots=True)
class HubSource:
    """One split of a data set. `files` are instead the files of a URL, all of one format."""

    name: str
    dataset: str
    config: str | None = None
    split: str | None = None
    files: str | None = None

    @property
    def key(self) -> str:
        return self.name

    def read(self, after: int, size: int) -> Iterator[RawRows]:
        rows = _loaded(self)
        for start in range(after, len(rows), size):
            # As it is stored: of an image, the bytes, not the picture.
            table = rows.with_format("arrow")[start : start + size]
            yield RawRows(self.name, start + 1, table.combine_chunks().to_batches()[0])

    def schema(self) -> pa.Schema | None:
        return _loaded(self).data.schema.remove_metadata()

    def count(self) -> int:
        return len(_loaded(self))

    def fingerprint(self) -> str:
        return f"{len(_loaded(self))} rows, {_loaded(self)._fingerprint}"

    def bytes_to_count(self) -> int:
        return 0


def is_hub_name(name: str) -> bool:
    """Whether a name is of a data set and not of a file."""
    return name.startswith((_HUB, _URL))


def find_hub_source(name: str) -> HubSource:
    """The source that a name such as `hub:OWNER/NAME:train` means; its data set is downloaded when it is read.

    Raises DataError when the name is malformed or the data set, or its split, cannot be had.
    """
    if name.startswith(_URL):
        kind = "parquet" if source_format(Path(name)) == "parquet" else "json"
        return HubSource(name, kind, split="train", files=name)
    dataset, *chosen = name.removeprefix(_HUB).split(":")
    if not dataset or len(chosen) > 2 or "" in chosen:
        raise DataError(f"{name} is no data set. Write hub:NAME, hub:NAME:SPLIT or hub:NAME:CONFIG:SPLIT.")
    config, split = (chosen[0], chosen[1]) if len(chosen) == 2 else (None, chosen[0] if chosen else None)
    if split is None:
        splits = _from_hub(name, lambda datasets: datasets.get_dataset_split_names(dataset, config))
        if len(splits) > 1:
            raise DataError(f"{name} has several splits. Choose one: {', '.join(f'{name}:{each}' for each in splits)}.")
        [split] = splits
    return replace(HubSource(name, dataset, config), split=split)


@lru_cache(maxsize=16)
def _loaded(source: HubSource) -> Any:
    """The rows, mapped from the disk."""
    return _from_hub(
        source.name,
        lambda datasets: datasets.load_dataset(
            source.dataset, source.config, split=source.split, data_files=source.files
        ),
    )


def _from_hub(name: str, ask: Callable[[Any], Any]) -> Any:
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return ask(datasets)
    except Exception as error:  # what its HTTP client, its file systems and its readers raise has no common base
        raise DataError(
            f"{name} cannot be had: {' '.join(str(error).split())}\nCheck the name, the split and the network "
            "(HF_TOKEN, or `hf auth login`, for data with restricted access), or download the files and give them."
        ) from error
