"""A study with `algorithm: grpo` or `rloo`: the same file, the same run directory, the same resuming as with PPO."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from proxygold.errors import ConfigError, StoreError
from proxygold.store import ArmDirectory, RunDirectory
from proxygold.study.demo import demo_text
from proxygold.study.loading import load_study, parse_study
from proxygold.study.progress import OnStep, StudyProgress
from proxygold.study.stages import run_study
from proxygold.training.online_config import GRPOSettings, RLOOSettings

GRPO = (
    "training={algorithm: grpo, steps: 4, batch_size: 4, samples_per_prompt: 2, learning_rate: 0.05, max_new_tokens: 4}"
)


class StopsAfter(StudyProgress):
    """Ctrl-C when a step is logged and not yet saved."""

    def __init__(self, steps: int) -> None:
        super().__init__(Console(quiet=True))
        self.left = steps

    @contextmanager
    def training(self, *_: Any) -> Iterator[OnStep]:
        def on_step(record: dict[str, Any]) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        yield on_step


def test_a_study_by_grpo_resumes_and_is_one_of_its_own(study_file: Path, one_thread: None) -> None:
    runs, common = study_file.parent / "runs", ("rewards={LI: LI}", GRPO)
    study = load_study(study_file, common)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, runs, StopsAfter(3))
    arm = RunDirectory(runs / "tiny").arm("LI", 0)
    assert (arm.checkpoint_steps(), [row["step"] for row in arm.read_steps()]) == ([2], [1, 2, 3])
    first = [row["seconds"] for row in arm.read_steps()]

    result = run_study(study, runs, StudyProgress(Console(quiet=True)))
    rows = arm.read_steps()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["seconds"] for row in rows[:2]] == first[:2]  # not trained again
    assert (arm.checkpoint_steps()[-1], arm.rollout_steps(), arm.score_steps()) == (4, [0, 2, 4], [0, 2, 4])
    assert "algorithm: grpo" in result.run.study_file.read_text()
    assert result.report is not None
    assert "KL from the start" in result.report.read_text()
    assert _surplus(arm) == []

    before = arm.checkpoint(4).stat().st_mtime_ns
    run_study(study, runs, StudyProgress(Console(quiet=True)))
    assert arm.checkpoint(4).stat().st_mtime_ns == before
    with pytest.raises(StoreError, match=r"differ in training\.algorithm \(was 'grpo', is 'rloo'\)"):
        run_study(
            load_study(study_file, (*common, "training.algorithm=rloo")), runs, StudyProgress(Console(quiet=True))
        )


def _surplus(arm: ArmDirectory) -> list[str]:
    """What TRL wrote beside our files."""
    ours = {"train.jsonl", "checkpoints", "rollouts", "scores"}
    return [path.name for path in arm.path.iterdir() if path.name not in ours]


def test_dropout_is_refused_before_anything_runs(study_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.lora\.dropout is 0\.1, but grpo would compare .*set it to 0"):
        load_study(study_file, (GRPO, "policy.lora.dropout=0.1"))


def test_the_page_in_the_docs_lists_every_setting_with_its_default_and_its_examples_are_studies() -> None:
    page = (Path(__file__).parents[2] / "docs" / "grpo.md").read_text(encoding="utf-8")
    shared = set(re.findall(r"`(\w+)`", page.split("As for PPO:")[1].split("and what a study keeps")[0]))
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    listed = {name: cells for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}
    for column, kind in ((1, GRPOSettings), (2, RLOOSettings)):
        for name, field in kind.model_fields.items():
            assert name in shared | listed.keys(), name
            if name in listed and not name.startswith("epsilon"):
                said = yaml.safe_load(listed[name][column].strip("`").replace("none", "null"))
                assert said == field.default, name
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    override = re.findall(r"training=(\{.*?\})", command)[0]
    assert yaml.safe_load(text)["training"] == yaml.safe_load(override)
    study = parse_study(demo_text(), shlex.split(command.replace("\\\n", " "))[2:])
    assert (study.training.algorithm, study.name) == ("grpo", "demo-grpo")
