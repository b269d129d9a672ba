"""The end of a run, from its files alone: the checkpoints that the dev prompts choose, the verdict, the page.

It needs no deep-learning library, so that a run whose gold was scored elsewhere can be concluded anywhere.
"""

from __future__ import annotations

from pathlib import Path

from proxygold.analysis.runs import RunAnalysis, analyse_run
from proxygold.report.build import build_report
from proxygold.store import RunDirectory
from proxygold.study.choice import choose_checkpoints

__all__ = ["conclude"]


def conclude(run: RunDirectory) -> tuple[RunAnalysis | None, Path | None]:
    """Choose, judge with the study's own settings and write the page; no verdict and no page without a gold score."""
    choose_checkpoints(run)
    if not any(set(arm.scored_steps("gold")) & set(arm.scored_steps("proxy")) for arm in run.arms()):
        return None, None
    analysis = analyse_run(run)
    run.write_monotonicity(analysis.as_dict())
    return analysis, build_report(run, analysis)
