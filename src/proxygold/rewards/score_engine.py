"""Who scores the chunks of a file: this process, or others (`score_workers.py`, `integrations/ray.py`).

Whoever it is, results come in the order of the rows, few at a time are in memory, and the scores are the same.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from proxygold.data.sources import Position, Source, read_chunks
from proxygold.features import find_feature
from proxygold.rewards.runtime import Reward
from proxygold.rewards.score_chunk import ChunkScorer, ScoredChunk
from proxygold.rewards.tree import FeatureUse, RewardModelUse, walk

__all__ = ["CHUNK_ROWS", "Engine", "Scoring", "ThisProcess", "given_or_raised", "tried", "uses_models"]

# Rows scored together: enough to batch texts of one length, few enough to hold.
CHUNK_ROWS = 2048


class Scoring(Protocol):
    """An engine that is ready: the reward is loaded."""

    @property
    def reward_id(self) -> str: ...

    def results(
        self, scorer: ChunkScorer, sources: Sequence[Source], start: Position, rows: int
    ) -> Iterator[ScoredChunk]:
        """The scored rows after `start`, in order, in chunks of about `rows`.

        Raises UnusableSource for a source that cannot be read, and what scoring raises, each when the chunks before it
        are given out.
        """


class Engine(Protocol):
    def start(self, reward: Reward) -> AbstractContextManager[Scoring]:
        """Get ready to score by `reward`; what was started is gone when the block ends."""


class ThisProcess:
    """Scores here, one chunk at a time."""

    @contextmanager
    def start(self, reward: Reward) -> Iterator[Scoring]:
        yield _Here(reward)


class _Here:
    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    @property
    def reward_id(self) -> str:
        return self._reward.reward_id

    def results(
        self, scorer: ChunkScorer, sources: Sequence[Source], start: Position, rows: int
    ) -> Iterator[ScoredChunk]:
        for chunk in read_chunks(sources, start, rows):
            yield scorer.score(chunk, self._reward)


def tried(act: Callable[[], Any]) -> Any:
    """What a call returns, or the exception that it raises, fit to be sent."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001  (it is raised again where the result is asked for)
        where = "".join(traceback.format_exception(error))
        error.__cause__ = error.__context__ = None
        try:
            error = pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001  (exceptions of other packages may not go through)
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(f"where it was raised:\n{where}")
        return error


def given_or_raised(result: Any) -> Any:
    """What `tried` gave, or the exception that it sent, raised."""
    if isinstance(result, BaseException):
        raise result
    return result


def uses_models(reward: Reward) -> bool:
    """Whether a reward loads any model, for which a GPU would be of use."""
    for node in walk(reward.tree):
        if isinstance(node, RewardModelUse) and not node.settings.is_remote:
            return True
        if isinstance(node, FeatureUse) and (feature := find_feature(node.name)) is not None:
            defaults = {name: parameter.default for name, parameter in feature.parameters.items()}
            if feature.uses_encoder or feature.models(defaults | dict(node.arguments)):
                return True
    return False
