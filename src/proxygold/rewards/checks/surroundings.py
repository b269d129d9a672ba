"""What scoring must leave as it was: the trainer's random numbers, its settings, and the examples themselves."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from proxygold.records import Example
from proxygold.rewards.checks.finding import Outcome, fail, ok, warn
from proxygold.rewards.checks.process_settings import process_settings
from proxygold.rewards.checks.subject import Subject

__all__ = ["leaves_all_as_it_was"]


def leaves_all_as_it_was(subject: Subject) -> Outcome:
    """Scoring changes neither random state nor settings of the process nor what it is given."""
    if not all(map(_alike, subject.examples, subject.untouched)):
        return fail("an example is not what it was", "Copy what is to be changed: list(...), dict(...).")
    now = process_settings()
    if changed := [name for name, value in subject.settings.items() if now.get(name) != value]:
        return fail(f"scoring changed {' and '.join(changed)}", "Put back what a feature changes, or do without.")
    examples = subject.rows(subject.few(16, repeats=2))
    seeded, drawn = [], []
    for name, generator in _generators().items():
        reset, moved = _random_use(generator, lambda: subject.reward.score(examples))
        seeded += [name] if reset else []
        drawn += [name] if moved and not reset else []
    if seeded:
        return fail(
            f"scoring seeds {' and '.join(seeded)}, which the trainer samples with",
            "Use a generator of your own: random.Random(0), numpy.random.default_rng(0).",
        )
    if drawn:
        return warn(f"scoring draws from {' and '.join(drawn)}", "Draw from a generator of your own, if at all.")
    return ok("examples, random state and settings of the process")


def _alike(one: Example, other: Example) -> bool:
    try:
        return one == other
    except ValueError:  # columns of arrays, which do not compare as one
        return repr(one) == repr(other)


# A random generator of the whole process: how it is seeded, and its state.
_Generator = tuple[Callable[[int], object], Callable[[], Any], Callable[[Any], object]]


def _generators() -> Mapping[str, _Generator]:
    found: dict[str, _Generator] = {
        "random": (random.seed, random.getstate, random.setstate),
        "numpy.random": (np.random.seed, lambda: np.random.get_state(legacy=True), np.random.set_state),  # noqa: NPY002
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = (torch.manual_seed, torch.get_rng_state, torch.set_rng_state)
    return found


def _random_use(generator: _Generator, score: Callable[[], object]) -> tuple[bool, bool]:
    """Whether scoring seeds a generator (it ends in one state wherever it began), and whether it uses it at all."""
    seed, get, put = generator
    kept = get()
    try:
        states = []
        for number in (1, 2):
            seed(number)
            begun = repr(_plain(get()))
            score()
            states.append((begun, repr(_plain(get()))))
        (first, first_after), (_, second_after) = states
        return first_after == second_after, first_after != first
    finally:
        put(kept)


def _plain(state: Any) -> Any:
    """A state that prints in full."""
    if isinstance(state, tuple):
        return tuple(_plain(part) for part in state)
    return state.tolist() if hasattr(state, "tolist") else state
