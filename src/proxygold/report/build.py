"""The report of a run: one HTML file that holds everything it needs.

Completions are text that a model made up, and prompts come from anywhere: the template escapes all of it, and a content
security policy lets no script run but the page's own two, and nothing be loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from proxygold import __version__
from proxygold.analysis.curves import RewardCurves, reward_curves
from proxygold.analysis.results import Component, RewardAnalysis, RunAnalysis
from proxygold.analysis.runs import analyse_run, read_arms
from proxygold.analysis.scores import ArmScores
from proxygold.report import numbers
from proxygold.report.charts import Figure, curve_chart, query_type_chart, training_chart
from proxygold.report.choices import BY, choice_rows
from proxygold.report.pages import json_for_html, page_environment, page_scripts, page_style, script_policy
from proxygold.report.samples import choose_prompts, read_samples
from proxygold.report.table import rows
from proxygold.report.training import QUANTITIES, training_curves
from proxygold.report.words import headline, left_out
from proxygold.store import RunDirectory

__all__ = ["build_report"]


def build_report(run: RunDirectory, analysis: RunAnalysis | None = None) -> Path:
    """Write the report of `run` and return its path. Without an `analysis` it is made with the study's own settings.

    Raises ConfigError when plotly or jinja2 is missing, and what `analyse_run` raises.
    """
    environment, scripts = page_environment(), page_scripts()
    analysis = analysis or analyse_run(run)
    study, provenance = run.read_study(), run.read_provenance()
    arms = [arm for arm in read_arms(run) if arm.steps]
    charts: dict[str, Figure] = {}
    sections = []
    for index, reward in enumerate(analysis.rewards):
        own = [arm for arm in arms if arm.reward == reward.reward]
        sections.append(_reward_section(run, study, reward, own, _sampled(arms), f"r{index}", charts))

    environment.globals.update(
        number=numbers.number,
        correlation=numbers.correlation,
        interval=numbers.interval,
        measured=numbers.measured,
        p_value=numbers.p_value,
    )
    html = environment.get_template("page.html.j2").render(
        analysis=analysis,
        charts=json_for_html(charts),
        choices=list(choice_rows(run)),
        compared=BY,
        headline=headline(analysis),
        left_out=left_out(run),
        name=study.get("name", run.path.name),
        policy=script_policy(scripts),
        prompts=max((seed.overall.prompts for reward in analysis.rewards for seed in reward.seeds), default=0),
        provenance=_flat(provenance),
        quantities=QUANTITIES,
        scripts=scripts,
        sections=sections,
        study=yaml.safe_dump(study, sort_keys=False, allow_unicode=True, width=100),
        # A validation of checkpoints that another trainer made has no training of its own to show.
        trained_here="checkpoints" not in study,
        style=page_style(),
        version=__version__,
    )
    run.write_report(html)
    return run.report_file


def _sampled(arms: Sequence[ArmScores]) -> list[str]:
    return choose_prompts(arms[0].prompt_ids, arms[0].query_types)


def _reward_section(
    run: RunDirectory,
    study: Mapping[str, Any],
    reward: RewardAnalysis,
    arms: Sequence[ArmScores],
    sampled: Sequence[str],
    key: str,
    charts: dict[str, Figure],
) -> dict[str, Any]:
    """What the template shows for one reward; its figures go into `charts` under names that begin with `key`."""
    curves = reward_curves(arms)
    directories = [run.arm(arm.reward, arm.seed) for arm in arms]
    charts[f"{key}-curves"] = curve_chart(curves)
    if curves.gold_by_type:
        charts[f"{key}-types"] = query_type_chart(curves)
    logged = []
    for index, (log_key, title) in enumerate(QUANTITIES):
        found = training_curves(directories, log_key)
        if found:
            charts[f"{key}-train-{index}"] = training_chart(found)
            logged.append((f"{key}-train-{index}", title))
    return {
        "analysis": reward,
        "key": key,
        "line": str(study["rewards"][reward.reward]),
        "rows": list(rows(reward)),
        "curves": curves,
        "curve_rows": _curve_rows(curves),
        "type_rows": _type_rows(curves),
        "logged": logged,
        "components": _component_rows(reward),
        "samples": read_samples(directories[0], arms[0], sampled),
        "sample_seed": arms[0].seed,
    }


def _curve_rows(curves: RewardCurves) -> list[tuple[int, float, float, float, float]]:
    """Step, proxy mean, gold mean, and both standardised: the numbers under the chart, for who cannot see it."""
    columns = (curves.proxy.means, curves.gold.means, curves.proxy.line, curves.gold.line)
    return list(zip(curves.steps, *(column.tolist() for column in columns), strict=True))


def _type_rows(curves: RewardCurves) -> list[tuple[int, list[float]]]:
    """Step, and gold's mean for each query type."""
    means = [curve.means.tolist() for curve in curves.gold_by_type.values()]
    return [(step, [column[index] for column in means]) for index, step in enumerate(curves.steps)]


def _component_rows(reward: RewardAnalysis) -> list[tuple[str, list[Component | None]]]:
    """Each part of the reward with its analysis in every seed; None where a seed has nothing to say on it."""
    by_seed = [{part.text: part for part in seed.by_component} for seed in reward.seeds]
    texts = dict.fromkeys(text for parts in by_seed for text in parts)
    return [(text, [parts.get(text) for parts in by_seed]) for text in texts]


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as lines: dotted names and their values."""
    lines: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            lines.append((f"{prefix}{name}", " ".join(map(str, value)) or numbers.DASH))
        else:
            lines.append((f"{prefix}{name}", numbers.DASH if value is None else str(value)))
    return lines
