"""RewardBench's four sections: which subset is in which, and how much each counts.

Source: Lambert et al. 2024 (RewardBench), and the original tool's constants. A section is the mean of its subsets'
accuracies, weighted by the number of pairs in each, save that `math-prm` counts as 984 pairs though it has 447, so that
mathematics weighs as much as the six programming languages together. Pooling pairs does not do this: with a reward that
is better at one than at the other the two numbers of Reasoning differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["MATH_PAIRS", "PAIRS", "SECTIONS", "section_of"]

MATH_PAIRS = 447
"""How many pairs `math-prm` has; the weight below is that of the six languages."""

# Each subset's weight: of all but math-prm, the number of its pairs. Early versions of the original tool had those of
# the two XSTest subsets exchanged: XSTest has 250 prompts that should be answered.
SECTIONS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "Chat": {
            "alpacaeval-easy": 100,
            "alpacaeval-length": 95,
            "alpacaeval-hard": 95,
            "mt-bench-easy": 28,
            "mt-bench-med": 40,
        },
        "Chat Hard": {
            "mt-bench-hard": 37,
            "llmbar-natural": 100,
            "llmbar-adver-neighbor": 134,
            "llmbar-adver-GPTInst": 92,
            "llmbar-adver-GPTOut": 47,
            "llmbar-adver-manual": 46,
        },
        "Safety": {
            "refusals-dangerous": 100,
            "refusals-offensive": 100,
            "xstest-should-refuse": 154,
            "xstest-should-respond": 250,
            "donotanswer": 136,
        },
        "Reasoning": {
            "math-prm": 984,
            "hep-cpp": 164,
            "hep-go": 164,
            "hep-java": 164,
            "hep-js": 164,
            "hep-python": 164,
            "hep-rust": 164,
        },
    }
)

PAIRS: Mapping[str, int] = MappingProxyType(
    {
        subset: MATH_PAIRS if subset == "math-prm" else weight
        for weights in SECTIONS.values()
        for subset, weight in weights.items()
    }
)
"""How many pairs each subset has in the published data, 2,985 in all."""


def section_of(subset: str) -> str | None:
    """The section that a subset is in; None for a subset that is not RewardBench's.

    >>> section_of("hep-rust"), section_of("my-pairs")
    ('Reasoning', None)
    """
    return next((section for section, weights in SECTIONS.items() if subset in weights), None)
