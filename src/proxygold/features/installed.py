"""Features that installed packages offer: entry points of the group `proxygold.features`.

A package says in its pyproject.toml which of its modules holds a feature:

    [project.entry-points."proxygold.features"]
    hedging = "my_rewards.hedging"

The module registers it with `@feature("hedging")`. It is imported when a reward line first uses the name, and never
before: what is installed costs nothing, and cannot break, until it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxygold.errors import RewardError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "load_installed", "offered_names", "package_of"]

GROUP = "proxygold.features"


def offered_names() -> list[str]:
    """The names of the features that installed packages offer. Nothing is imported."""
    return sorted({point.name for point in _entry_points()})


def load_installed(name: str) -> str | None:
    """Import what offers the feature `name`; gives the package that does, None if there is none.

    Raises RewardError when the import fails, or when two packages offer the name.
    """
    # One package may be found twice, from two entries of sys.path.
    points = {(package_of(point), point.value): point for point in _entry_points() if point.name == name}
    if not points:
        return None
    if len(points) > 1:
        packages = " and ".join(package for package, _ in points)
        raise RewardError(f"the feature {name!r} is offered by {packages}. Uninstall all but one of them.")
    [((package, value), point)] = points.items()
    try:
        point.load()
    except Exception as error:
        raise RewardError(
            f"the package {package} offers the feature {name!r}, and importing {value} failed: "
            f"{type(error).__name__}: {error}. Mend or update {package}, or uninstall it."
        ) from error
    return package


def package_of(point: EntryPoint) -> str:
    """The name and version of the package that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _entry_points() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))
