"""The alignment tax: what being preferred costs a model in doing tasks as they were set (the paper's Table 4).

A model gains when AlpacaEval's judge prefers it more often than the baseline, and pays when Super-NaturalInstructions'
ROUGE-L falls below the baseline's (Askell et al. 2021; Kim and Seo 2024, section 4.3). Both are differences on the same
items with an interval, so that a tax is told from chance. A third number says whether the answers stayed on the topic:
the share of relevant sentences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from proxygold.analysis.bootstrap import Estimate
from proxygold.errors import ConfigError, DataError
from proxygold.evaluation.results import OVERALL, Difference, Evaluation, Metric, ModelResult
from proxygold.report.numbers import interval, measured

__all__ = ["BENCHMARK", "GAINS", "RELEVANCE", "TASKS", "TradeOff", "trade_off"]

BENCHMARK = "alignment-tax"

# The metrics of each part, the first that its results have is what the trade-off is told by.
GAINS = ("win_rate", "length_controlled_win_rate")
TASKS = ("rouge_l",)
RELEVANCE = ("relevant_by_judge", "relevant_by_encoder")

PAYS = "pays an alignment tax"
FREE = "is preferred more, and no tax is found"
LOSES = "does tasks worse, and is not preferred more"
UNCLEAR = "is not clearly preferred more"


@dataclass(frozen=True, slots=True)
class TradeOff:
    """One model beside the baseline: its metrics by name, how far each is from the baseline's, and what that means.

    `verdict` is empty for the baseline.
    """

    model: str
    metrics: dict[str, Metric]
    differences: dict[str, Difference]
    verdict: str = ""


def trade_off(
    preferred: Evaluation, tasks: Evaluation, relevant: Evaluation | None = None, baseline: str | None = None
) -> tuple[Evaluation, list[TradeOff]]:
    """AlpacaEval's, Super-NaturalInstructions' and perhaps the responses' results of the same models, put together.

    Without a `baseline` it is the first model. Models that one of the first two has not evaluated are left out, with a
    note. Raises ConfigError for a baseline that is not in both, DataError when they have no two models in common.
    """
    parts = [part for part in (preferred, tasks, relevant) if part is not None]
    shared = [result.model for result in preferred.models if result.model in {each.model for each in tasks.models}]
    if len(shared) < 2:
        raise DataError(
            f"{preferred.benchmark} has {_listed(preferred)} and {tasks.benchmark} has {_listed(tasks)}: a trade-off "
            "needs the baseline and one more model in both, by the same names."
        )
    if baseline is not None and baseline not in shared:
        raise ConfigError(f"--baseline is {baseline!r}, which is not in both results. Give one of {', '.join(shared)}.")
    start = shared[0] if baseline is None else baseline
    # The baseline stands first, as in the paper's table.
    found = [_trade_off(model, start, parts) for model in (start, *(each for each in shared if each != start))]
    results = [
        ModelResult(
            each.model, list(each.metrics.values()), _left_out(each.model, parts), dict(_about(each.model, parts))
        )
        for each in found
    ]
    evaluation = Evaluation(
        BENCHMARK,
        {"baseline": start, **{part.benchmark: dict(part.settings) for part in parts}},
        results,
        [difference for each in found for difference in each.differences.values()],
        list(_notes(found, preferred, tasks)),
        {},
        [row for part in parts for row in part.rejected],
    )
    return evaluation, found


def _trade_off(model: str, baseline: str, parts: Sequence[Evaluation]) -> TradeOff:
    metrics: dict[str, Metric] = {}
    differences: dict[str, Difference] = {}
    for part, names in zip(parts, (GAINS, TASKS, RELEVANCE), strict=False):
        own, other = _metrics(part, model), _metrics(part, baseline)
        for name in names:
            if name not in own:
                continue
            metrics[name] = own[name]
            if model != baseline and name in other:
                differences[name] = _difference(part, model, baseline, own[name], other[name])
    verdict = "" if model == baseline else _verdict(differences.get(GAINS[0]), differences.get(TASKS[0]))
    return TradeOff(model, metrics, differences, verdict)


def _metrics(part: Evaluation, model: str) -> dict[str, Metric]:
    """Those of all items."""
    return {
        metric.name: metric
        for result in part.models
        if result.model == model
        for metric in result.metrics
        if metric.group == OVERALL
    }


def _difference(part: Evaluation, model: str, baseline: str, own: Metric, other: Metric) -> Difference:
    """The paired one where the results have it, either way round; else of two means as if of different items."""
    for found in part.differences:
        if found.name == own.name and found.group == OVERALL:
            if (found.model, found.baseline) == (model, baseline):
                return found
            if (found.model, found.baseline) == (baseline, model):
                return replace(
                    found, model=model, baseline=baseline, value=-found.value, low=-found.high, high=-found.low
                )
    value, reach = own.value - other.value, 1.96 * math.hypot(own.standard_error, other.standard_error)
    n = min(own.n_scored, other.n_scored)
    return Difference(f"{own.name} (not paired)", model, baseline, value, value - reach, value + reach, n)


def _verdict(gain: Difference | None, tasks: Difference | None) -> str:
    if gain is None or tasks is None or math.isnan(gain.value) or math.isnan(tasks.value):
        return "cannot be told, for want of scores"
    if gain.low > 0:
        return PAYS if tasks.high < 0 else FREE
    return LOSES if tasks.high < 0 else UNCLEAR


def _notes(found: Sequence[TradeOff], preferred: Evaluation, tasks: Evaluation) -> Iterator[str]:
    for each in found[1:]:
        told = [_told(difference) for name in (GAINS[0], TASKS[0]) if (difference := each.differences.get(name))]
        free = each.differences.get(TASKS[0])
        allowed = ""
        if each.verdict == FREE and free is not None and free.low < 0:
            allowed = f". A fall of {-free.low:.2g} cannot be excluded"
        yield f"{each.model} {each.verdict}: {', '.join(told)} against {found[0].model}{allowed}."
    models = {each.model for each in found}
    for part in (preferred, tasks):
        if alone := [result.model for result in part.models if result.model not in models]:
            yield f"only {part.benchmark} has {', '.join(alone)}: left out."
    if any("not paired" in difference.name for each in found for difference in each.differences.values()):
        yield (
            "some differences are not paired, because the results compare with another baseline: their intervals are "
            f"wider than they need be. Evaluate again with --baseline {found[0].model!r}."
        )


def _told(difference: Difference) -> str:
    estimate = Estimate(difference.value, difference.low, difference.high)
    return f"{difference.name} {measured(estimate, sign=True)} ({interval(estimate)})"


def _results(model: str, parts: Sequence[Evaluation]) -> Iterator[tuple[str, ModelResult]]:
    """A model's result in each part, with the part's name."""
    for part in parts:
        yield from ((part.benchmark, result) for result in part.models if result.model == model)


def _left_out(model: str, parts: Sequence[Evaluation]) -> dict[str, int]:
    return {
        f"{benchmark}: {reason}": count
        for benchmark, result in _results(model, parts)
        for reason, count in result.left_out.items()
    }


def _about(model: str, parts: Sequence[Evaluation]) -> Iterator[tuple[str, object]]:
    return ((benchmark, dict(result.about)) for benchmark, result in _results(model, parts))


def _listed(part: Evaluation) -> str:
    return ", ".join(result.model for result in part.models) or "no model"
