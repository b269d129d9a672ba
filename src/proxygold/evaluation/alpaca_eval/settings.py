"""What an AlpacaEval run asks, and who judges."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxygold.evaluation.alpaca_eval.annotator import Annotator, own_annotator
from proxygold.evaluation.alpaca_eval.instructions import ALPACA_EVAL
from proxygold.evaluation.alpaca_eval.length_controlled import Difficulties
from proxygold.models.policy_settings import SamplingSettings

__all__ = ["AlpacaEvalSettings"]


@dataclass(frozen=True, slots=True)
class AlpacaEvalSettings:
    """What is asked and who judges.

    `reference_outputs`: the answers to beat (`read_reference_set`); None with recorded annotations, which have them.
    `seed`: of the sampling. `order_seed`: of the order in which two answers are shown, 0 in AlpacaEval. `limit`: the
    first so many instructions. `query_types`: `local` gives a type to those that have none. `baseline`: the model that
    the others are compared with; None: each with each.
    """

    reference_outputs: str | None = ALPACA_EVAL
    annotator: Annotator = field(default_factory=own_annotator)
    sampling: SamplingSettings = field(default_factory=lambda: SamplingSettings(max_new_tokens=512, temperature=0.7))
    seed: int = 0
    order_seed: int = 0
    limit: int | None = None
    query_types: str | None = None
    difficulties: Difficulties | None = None
    baseline: str | None = None
