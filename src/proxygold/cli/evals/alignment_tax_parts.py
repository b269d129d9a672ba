"""What `eval alignment-tax` makes of its options: each part's settings, or where its results are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from proxygold.cli.evals.judging import judge_from_options
from proxygold.errors import ConfigError
from proxygold.evaluation.alpaca_eval.annotator import own_annotator, read_annotator
from proxygold.evaluation.alpaca_eval.benchmark import AlpacaEvalSettings
from proxygold.evaluation.alpaca_eval.instructions import ALPACA_EVAL
from proxygold.evaluation.judges.judging import Judge
from proxygold.evaluation.responses.measured import ResponsesSettings
from proxygold.evaluation.super_ni.benchmark import SuperNISettings
from proxygold.evaluation.super_ni.prompts import Protocol
from proxygold.templates import get_template

__all__ = ["alpaca_eval_part", "judge_part", "relevance_part", "super_ni_part"]


def alpaca_eval_part(
    results: Path | None, reference_outputs: str | None, annotator: Path | None, *, seed: int, limit: int | None
) -> AlpacaEvalSettings | Path:
    """Raises ConfigError for options that say how to run it beside results, and for an annotator that is none."""
    if results is not None:
        _refuse("--alpaca-eval-results", {"--reference-outputs": reference_outputs, "--annotator": annotator})
        return results.expanduser()
    return AlpacaEvalSettings(
        reference_outputs=reference_outputs or ALPACA_EVAL,
        annotator=read_annotator(annotator) if annotator else own_annotator(),
        seed=seed,
        limit=limit,
    )


def super_ni_part(
    results: Path | None, data: Path | None, *, protocol: Protocol, per_task: int, limit: int | None
) -> SuperNISettings | Path:
    """Raises ConfigError when there are neither data nor results, or both."""
    if results is not None:
        _refuse("--super-ni-results", {"--super-ni": data})
        return results.expanduser()
    if data is None:
        raise ConfigError(
            "there are no tasks. Give --super-ni PATH, a copy of the natural-instructions repository, or results that "
            "exist: --super-ni-results DIR."
        )
    return SuperNISettings(data=data.expanduser(), protocol=protocol, per_task=per_task, limit=limit)


def relevance_part(results: Path | None, relevance: str, template: str) -> ResponsesSettings | Path | None:
    """How the answers to AlpacaEval are measured; by the encoder alone, whose share no judge has to be paid for."""
    if results is not None:
        return results.expanduser()
    if relevance == "none":
        return None
    if template == "chat":
        return ResponsesSettings()
    return ResponsesSettings(stop_strings=get_template(template).stop_strings)


def judge_part(
    alpaca: AlpacaEvalSettings | Path, judge: str | None, **options: Any
) -> AbstractContextManager[Judge] | None:
    """AlpacaEval's judge, not opened yet: --judge, or the annotator's own model; None where none is named."""
    if isinstance(alpaca, Path):
        _refuse("--alpaca-eval-results", {"--judge": judge})
        return None
    name = judge or alpaca.annotator.model
    return judge_from_options(name, defaults=alpaca.annotator.parameters, **options) if name else None


def _refuse(results: str, given: dict[str, object]) -> None:
    """Raises ConfigError for what would not be read beside results."""
    if also := next((option for option, value in given.items() if value), None):
        raise ConfigError(f"{results} has what was run before, and {also} is for a new run. Leave one of them out.")
