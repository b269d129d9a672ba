"""Measuring `match`: two scales read off the same completions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proxygold.errors import RewardError
from proxygold.records import Scored
from proxygold.rewards.language import to_line
from proxygold.rewards.tree import Match, Node, Rescale, children, walk, with_children

__all__ = ["MIN_ROWS", "PERCENTILE", "measure", "unresolved"]

PERCENTILE = 95

# Below 20 rows, 95% of them is all of them but the largest, or not even that.
MIN_ROWS = 20


def unresolved(tree: Node) -> list[Match]:
    """Every `match` in a tree that is still to be measured, inner ones first."""
    return [node for node in walk(tree) if isinstance(node, Match)]


def measure(tree: Node, score: Callable[[Node], Scored]) -> Node:
    """The tree with every `match(A, B)` replaced by `rescale(A, 0.0, a, 0.0, b)`.

    a and b are the 95th percentiles of A and of B over the completions on which both can be computed
    (linear between order statistics), kept to six digits, so that the line reads well and does not hang on
    the last bits of an embedding. `score` scores one tree on the calibration completions.

    Raises RewardError when fewer than 20 completions can be scored, or when a percentile is not above 0.
    """
    new = tuple(measure(child, score) for child in children(tree))
    tree = with_children(tree, new) if new else tree
    if not isinstance(tree, Match):
        return tree
    of_operand, of_target = score(tree.operand), score(tree.target)
    usable = np.isfinite(of_operand.total) & np.isfinite(of_target.total)
    if usable.sum() < MIN_ROWS:
        failures = [reason for reason in (*of_operand.reasons, *of_target.reasons) if reason]
        example = f" The first that cannot be scored: {failures[0]}." if failures else ""
        raise RewardError(
            f"{to_line(tree)} cannot be measured: {usable.sum()} of {len(usable)} completions can be scored, "
            f"and at least {MIN_ROWS} are needed.{example} "
            "Calibrate on more completions, with references and query types where needed."
        )
    tops = [float(f"{np.percentile(scored.total[usable], PERCENTILE):.6g}") for scored in (of_operand, of_target)]
    for top, part in zip(tops, (tree.operand, tree.target), strict=True):
        if top <= 0:
            raise RewardError(
                f"{to_line(tree)} cannot be measured: the {PERCENTILE}th percentile of {to_line(part)} "
                f"is {top!r}, and it must be above 0. Calibrate on completions that are not all empty or unrelated, "
                "or write rescale with numbers of your own."
            )
    return Rescale(tree.operand, 0.0, tops[0], 0.0, tops[1])
