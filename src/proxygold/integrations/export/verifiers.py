"""For verifiers (v1): a package with the tasks and the reward, to install and to name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from proxygold.integrations.export.spec import ExportSpec, reward_call
from proxygold.templates import user_text

__all__ = ["verifiers_files"]

_PACKAGE = "proxygold_tasks"

_TASKSET = '''"""Prompts as tasks, rewarded by proxygold."""

import json
from pathlib import Path

import verifiers.v1 as vf

from {package}.reward import proxygold, proxygold_parts


class PromptData(vf.TaskData):
    """A prompt with what its reward needs."""

    reference: str | None = None
    query_type: str | None = None


class PromptTask(vf.Task[PromptData]):
    """One prompt."""

    @vf.reward(weight=1.0)
    async def proxygold(self, trace: vf.Trace) -> float:
        return await proxygold(self.data, trace)

    @vf.metric
    async def proxygold_parts(self, trace: vf.Trace) -> dict[str, float]:
        return await proxygold_parts(self.data, trace)


class PromptConfig(vf.TasksetConfig):
    split: str = "train"
    """`train` or `validation`."""


class PromptTaskset(vf.Taskset[PromptTask, PromptConfig]):
    def load(self) -> list[PromptTask]:
        file = Path(__file__).parent / f"{{self.config.split}}.jsonl"
        rows = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
        return [PromptTask(PromptData(**row), self.config.task) for row in rows]


__all__ = ["PromptTaskset"]
'''


def verifiers_files(spec: ExportSpec) -> Mapping[str, str | bytes]:
    """`pyproject.toml`, the package `proxygold_tasks` with its prompts and the reward, `launch.sh`."""
    files: dict[str, str | bytes] = {
        "pyproject.toml": (
            f'[project]\nname = "{_PACKAGE.replace("_", "-")}"\nversion = "0.1.0"\n'
            'dependencies = ["proxygold[encoder]", "verifiers>=0.2"]\n\n'
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
            f'[tool.hatch.build.targets.wheel]\npackages = ["{_PACKAGE}"]\n'
        ),
        f"{_PACKAGE}/__init__.py": (
            f'"""Prompts as tasks, rewarded by proxygold."""\n\nfrom {_PACKAGE}.taskset import PromptTaskset\n\n'
            '__all__ = ["PromptTaskset"]\n'
        ),
        f"{_PACKAGE}/taskset.py": _TASKSET.format(package=_PACKAGE),
        f"{_PACKAGE}/reward.py": (
            '"""The reward, and its parts as a metric."""\n\n'
            "from proxygold.integrations.verifiers import task_functions\n\n"
            f"proxygold, proxygold_parts = {reward_call('task_functions', spec)}\n"
        ),
        "launch.sh": (
            "#!/usr/bin/env bash\n"
            "# Answers and scores the prompts with a model behind an OpenAI-compatible endpoint. A trainer that reads\n"
            "# verifiers' environments takes the same name.\n"
            "set -euo pipefail\n"
            'cd "$(dirname "$0")"\n'
            "pip install --editable .\n"
            f'vf-eval {_PACKAGE.replace("_", "-")} --model {spec.model!r} "$@"\n'
        ),
    }
    for split, records in (("train", spec.train), ("validation", spec.validation)):
        rows = (
            {
                "id": record.id,
                "prompt": user_text(record.prompt),
                "reference": record.reference,
                "query_type": record.query_type,
            }
            for record in records
        )
        files[f"{_PACKAGE}/{split}.jsonl"] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return files
