"""proxygold: write a reward you can read, train a policy on it, and find out whether it stands in for gold.

    from proxygold import Example, reward

    scored = reward("LI * RP").score([Example(prompt="Where is Oslo?", completion="In Norway.")])
    scored.total, scored.parts["LI"]

Names are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxygold.features import feature
    from proxygold.records import Example, Scored
    from proxygold.rewards import Reward, reward

__all__ = ["Example", "Reward", "Scored", "__version__", "feature", "reward"]

_HOMES = {
    "Example": "proxygold.records",
    "Scored": "proxygold.records",
    "feature": "proxygold.features",
    "Reward": "proxygold.rewards",
    "reward": "proxygold.rewards",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("proxygold")
    raise AttributeError(f"module 'proxygold' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
