"""The numbers of a training's log, sent to experiment trackers as well: tensorboard, wandb and trackio, by accelerate.

A tracker gets what `train.jsonl` holds, under the same names, nested ones joined by a slash (`parts/LI`,
`seconds/total`); in place of the rollouts without a reward, how many they are. What JSON writes as null is left out.

How far each tracker was told is kept beside the log, in `trackers.json`. So a training that goes on tells each step
once, also those that were logged before the tracker was asked for. Steps that are trained again after a stop are not
told again: they are the same. Only tensorboard's files are cut back, as the log is.
"""

from __future__ import annotations

import contextlib
import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from proxygold.errors import ConfigError, StoreError
from proxygold.store import ArmDirectory, write_whole

__all__ = ["Trackers", "check_trackers", "flat_numbers"]

# What is inside the record of a step that is told by how many there are.
_COUNTED = "nan_rewards"


def check_trackers(names: Sequence[str]) -> None:
    """Raises ConfigError for a tracker whose package is not installed: before a training is better than in it."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"training.trackers names {' and '.join(missing)}, not installed here. "
            f"Run: pip install {' '.join(missing)}; or leave it out of training.trackers."
        )


def flat_numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a line of the log, by their names.

    >>> flat_numbers({"step": 3, "reward": 0.5, "parts": {"LI": 0.25, "AR": None}, "nan_rewards": []})
    {'reward': 0.5, 'parts/LI': 0.25, 'nan_rewards': 0}
    """
    return {name: value for name, value in _flat(record) if name != "step"}


def _flat(record: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        name = f"{place}{key}"
        if key == _COUNTED:
            yield name, len(value)
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{name}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            yield name, value


class Trackers:
    """The trackers of one training, which is `run` of `project`. Use as a context."""

    def __init__(
        self, names: Sequence[str], arm: ArmDirectory, project: str, run: str, settings: Mapping[str, Any]
    ) -> None:
        """`settings` is what the run was made with, for trackers that show it. Starts nothing."""
        self._arm, self._project, self._run, self._settings = arm, project, run, settings
        self._names = tuple(dict.fromkeys(names))
        self._state: dict[str, dict[str, Any]] = self._read() if self._names else {}
        self._started: dict[str, Any] = {}

    def __enter__(self) -> Trackers:
        """Start them, and tell them what they were not told of the log. Raises StoreError when the log is damaged."""
        log = self._arm.read_steps() if self._names else []
        step = log[-1]["step"] if log else 0
        with contextlib.ExitStack() as stack:
            for name in self._names:
                tracker = self._start(name, step)
                stack.callback(tracker.finish)
                self._started[name] = tracker
            self._tell(log)
            self._finish = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish.close()

    def log(self, record: Mapping[str, Any]) -> None:
        """Tell a step to every tracker that does not know it."""
        self._tell([record])

    def _tell(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            step, news = int(record["step"]), False
            for name, tracker in self._started.items():
                if step > self._state[name]["told"]:
                    tracker.log(flat_numbers(record), step=step)
                    self._state[name]["told"], news = step, True
            if news:
                self._write()

    def _start(self, name: str, step: int) -> Any:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # which accelerate's own log asks for
        known = self._state.setdefault(name, {"run": uuid.uuid4().hex[:16], "told": 0})
        again = known["told"] > 0
        kind = LOGGER_TYPE_TO_CLASS[name]
        if name == "tensorboard":
            # Cut back to where the log is, and to what was told for sure.
            known["told"] = min(known["told"], step) if (self._arm.path / name).is_dir() else 0
            tracker = kind(name, self._arm.path, purge_step=known["told"] + 1 if again else None)
        elif name == "wandb":
            settings = {} if again else {"config": dict(self._settings)}
            where = {"name": self._run, "id": known["run"], "resume": "allow", "dir": str(self._arm.path)}
            tracker = kind(self._project, **where, **settings)
        else:
            name_of_its_own = f"{self._run}-{known['run'][:6]}"  # by which it is found again
            tracker = kind(self._project, name=name_of_its_own, config=dict(self._settings), resume="allow")
        tracker.main_process_only = False  # the caller is the one process that writes
        tracker.start()
        self._write()
        return tracker

    def _read(self) -> dict[str, dict[str, Any]]:
        file = self._arm.trackers_file
        if not file.exists():
            return {}
        try:
            state: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
            return {name: {"run": str(known["run"]), "told": int(known["told"])} for name, known in state.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{file} is damaged ({error}). Delete it: then each tracker is told the whole log again, as a new run."
            ) from error

    def _write(self) -> None:
        write_whole(self._arm.trackers_file, json.dumps(self._state, indent=2) + "\n")
