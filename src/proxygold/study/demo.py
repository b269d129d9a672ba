"""The demo's study file, which ships inside the package."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["demo_text"]


def demo_text() -> str:
    """The text of `demo.yaml`."""
    return (files("proxygold.study") / "demo.yaml").read_text(encoding="utf-8")
