"""A user's own feature that is a class: made once in a process, at the first score, with what it has to load."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from proxygold.errors import RewardError
from proxygold.features.custom_rows import all_at_once, one_by_one, place_of
from proxygold.features.registry import Argument, Compute

__all__ = ["compute_with"]


def compute_with(name: str, made_from: type, columns: Iterable[str]) -> Compute:
    """What scores examples with an object of the class. Raises RewardError for a class that has no way to score."""
    by_batch = callable(getattr(made_from, "score", None))
    # Every class can be called, to make an object; what counts is whether its objects can.
    if not by_batch and not any("__call__" in vars(base) for base in made_from.__mro__):
        raise RewardError(
            f"@feature({name!r}): the class {made_from.__name__} needs a method: score(self, examples), which gives a "
            "list of numbers, or __call__(self, example), which gives one."
        )
    objects = _Objects(name, made_from)

    def compute(examples: Any, context: object, **arguments: Argument) -> Any:
        with objects.use(arguments) as made:
            if by_batch:
                return all_at_once(name, made.score, columns, examples)
            return one_by_one(name, made, columns, examples, {})

    return compute


class _Objects:
    """The objects of a class in this process: one for each set of arguments, used by one thread at a time.

    A model or a tokenizer that is not safe for threads is so safe all the same.
    """

    def __init__(self, name: str, made_from: type) -> None:
        self._name = name
        self._made_from = made_from
        self._lock = threading.Lock()  # of the table alone: objects with other arguments do not wait for each other
        self._made: dict[tuple[tuple[str, Argument], ...], _Object] = {}

    @contextmanager
    def use(self, arguments: Mapping[str, Argument]) -> Iterator[Any]:
        key = tuple(sorted(arguments.items()))
        with self._lock:
            entry = self._made.setdefault(key, _Object())
        with entry.lock:
            if entry.made is None:
                entry.made = self._make(arguments)
            yield entry.made

    def _make(self, arguments: Mapping[str, Argument]) -> Any:
        try:
            return self._made_from(**arguments)
        except Exception as error:
            # No row is to blame, so this is no NaN: nothing could ever be scored.
            raise RewardError(
                f"the feature {self._name!r} cannot be used: {self._made_from.__name__} raised "
                f"{type(error).__name__}: {error} ({place_of(error)}) when it was made."
            ) from error


class _Object:
    def __init__(self) -> None:
        self.lock = threading.RLock()  # a feature may score with a reward that uses it too
        self.made: Any = None
