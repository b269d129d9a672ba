"""One reward and one batcher for all the calls of a process: what every plug-in that is called from threads stands on.

A trainer's worker asks for one completion at a time, from many threads. The reward is made at the first of these calls,
its encoder is loaded once, and calls that come together are scored together.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from proxygold.errors import ConfigError, ProxygoldError
from proxygold.integrations.batching import Batcher, ScoredRow
from proxygold.records import Example
from proxygold.rewards.options import reward_from_mapping

__all__ = ["SharedReward", "shared_reward"]

_log = logging.getLogger(__name__)
# A trainer calls a million times; a reason that repeats is told this often.
_TELL = 3


class SharedReward:
    """A reward with the batcher that all its callers share. Made by `shared_reward`.

    `fallback`: the reward of a completion without a score, for trainers that have no word for that.
    """

    def __init__(self, line: str, options: Mapping[str, Any], fallback: float) -> None:
        self.reward = reward_from_mapping(line, options)
        self.reward.score([])  # a `match` that was never measured is refused here, not after the first rollouts
        self.fallback = fallback
        self._batcher = Batcher(self.reward.score)
        self._told: dict[str, int] = {}

    def row(self, example: Example | ProxygoldError) -> ScoredRow:
        """The score of one example; for one that could not be read, a row without a score. Never raises."""
        [row] = self.rows([example])
        return row

    def rows(self, examples: Sequence[Example | ProxygoldError]) -> list[ScoredRow]:
        """`row` for each of n examples."""
        readable = [example for example in examples if isinstance(example, Example)]
        try:
            scored = self._batcher.score(readable)
        except Exception as error:  # noqa: BLE001  (trainers lose a whole run to an exception of their reward)
            scored = [ScoredRow(math.nan, {}, f"{type(error).__name__}: {error}")] * len(readable)
        return self._in_order(examples, scored)

    async def row_async(self, example: Example | ProxygoldError) -> ScoredRow:
        """`row` for a coroutine."""
        scored: list[ScoredRow] = []
        if isinstance(example, Example):
            try:
                scored = await self._batcher.score_async([example])
            except Exception as error:  # noqa: BLE001  (as above)
                scored = [ScoredRow(math.nan, {}, f"{type(error).__name__}: {error}")]
        [row] = self._in_order([example], scored)
        return row

    def _in_order(self, examples: Sequence[Example | ProxygoldError], scored: Sequence[ScoredRow]) -> list[ScoredRow]:
        found = iter(scored)
        rows = [
            ScoredRow(math.nan, {}, str(example)) if isinstance(example, ProxygoldError) else next(found)
            for example in examples
        ]
        for row in rows:
            if row.reason is not None:
                self._tell(row.reason)
        return rows

    def _tell(self, reason: str) -> None:
        times = self._told[reason] = self._told.get(reason, 0) + 1
        if times <= _TELL and len(self._told) <= 100:
            _log.warning("a completion has no score and is rewarded with %s: %s", self.fallback, reason)


_shared: dict[str, SharedReward] = {}
_lock = threading.Lock()


def shared_reward(line: str, *, fallback: float = 0.0, **options: Any) -> SharedReward:
    """The process's reward for `line`, made at the first call. `options` are those of `proxygold.reward`.

    - `fallback`: the reward of a completion that cannot be scored, for trainers that have no word for that.
    - `encoder`: a name, or a mapping of `EncoderSettings`.

    Raises ConfigError for an unknown option or a fallback that is not finite, RewardError for a line that is not
    allowed or has a `match` that was never measured: a run must stop at its first call rather than train on fallbacks.
    """
    if not isinstance(fallback, int | float) or not math.isfinite(fallback):
        raise ConfigError(f"fallback={fallback!r} is not allowed; give a finite number.")
    plain = {name: _plain(value) for name, value in options.items()}
    key = repr((line, float(fallback), sorted(plain.items())))
    with _lock:
        if key not in _shared:
            _shared[key] = SharedReward(line, plain, float(fallback))
        return _shared[key]


def _plain(value: Any) -> Any:
    """Settings as Python's own types: a trainer's configuration hands over its own kinds of mappings and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str | bytes | int | float | bool | type(None)):
        return value
    return [_plain(item) for item in value]
