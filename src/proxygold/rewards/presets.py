"""Named rewards, and the four rewards that the paper compares."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxygold.models.encoder import EncoderSettings

__all__ = ["CONTRIEVER", "DEFAULT_MAX_NEW_TOKENS", "PAPER_REWARDS", "named_rewards"]

CONTRIEVER = "facebook/contriever"

# The top of Contriever's dot products that the paper's released code maps onto the length incentive's.
_CONTRIEVER_TOP = 3.5

# The paper's rollout length.
DEFAULT_MAX_NEW_TOKENS = 512

# From the plainest to the paper's proposal (Kim and Seo 2024, table 1), as reward lines.
PAPER_REWARDS: Mapping[str, str] = MappingProxyType(
    {"LI": "LI", "LI_RP": "LI * RP", "LI_RP_QR": "LI * RP * QR", "RER": "RER"}
)


def named_rewards(encoder: EncoderSettings, max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS) -> dict[str, str]:
    """Each named reward with the line that it stands for, given the encoder.

    `RER` maps AR onto the scale of the length incentive with the paper's constants, which fit Contriever
    without normalisation only: from [0, 3.5] to [0, max_new_tokens / 100]. For any other encoder the map
    has to be measured, and stands as `match(AR, LI * QR)`, because LI * QR is what an open-ended answer
    gets.
    """
    if encoder.model == CONTRIEVER and not encoder.normalize:
        relevance = f"rescale(AR, 0, {_CONTRIEVER_TOP}, 0, {max_new_tokens / 100})"
    else:
        relevance = "match(AR, LI * QR)"
    return {"RER": f"branch(open_ended=LI * RP * QR, closed_ended=RP * {relevance})"}
