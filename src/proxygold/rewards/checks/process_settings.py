"""The settings of a process that a trainer rests on, and that code within it can change."""

from __future__ import annotations

import locale
import os
import sys

import numpy as np

__all__ = ["process_settings"]


def process_settings() -> dict[str, object]:
    """Each with its value now. Torch's are left out as long as it is not loaded."""
    torch = sys.modules.get("torch")
    found: dict[str, object] = {
        "the working directory": os.getcwd(),
        "sys.path": list(sys.path),
        "the recursion limit": sys.getrecursionlimit(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "numpy's handling of errors": np.geterr(),
    }
    # Of these only what was there can be compared: libraries set their own when they are loaded.
    found |= {f"os.environ[{name!r}]": value for name, value in os.environ.items()}
    if torch is not None:
        found |= {
            "torch's default dtype": torch.get_default_dtype(),
            "torch's threads": torch.get_num_threads(),
            "torch's gradient mode": torch.is_grad_enabled(),
        }
    return found
