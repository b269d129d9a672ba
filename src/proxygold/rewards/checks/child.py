"""The other process of the checks: reads a pickled reward and examples, writes what it makes of them.

Started by `processes.py` as `python -m proxygold.rewards.checks.child ASKED ANSWERED`.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

__all__ = ["answer"]


def answer(asked: bytes) -> dict[str, Any]:
    """The fields of a `ChildAnswer`."""
    path, pickled, examples = pickle.loads(asked)
    sys.path[:] = path
    try:
        reward = pickle.loads(pickled)
        scored = reward.score(pickle.loads(examples))
        return {"total": scored.total, "name": reward.__name__, "reward_id": reward.reward_id}
    except Exception as error:  # noqa: BLE001 - whatever it is, who asked wants to know it
        return {"trouble": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    # Renamed into place, so that an answer is whole or not there.
    said = answer(Path(sys.argv[1]).read_bytes())
    beside = Path(sys.argv[2] + ".tmp")
    beside.write_bytes(pickle.dumps(said))
    beside.rename(sys.argv[2])
