"""Run directories: the only code that knows their paths and formats.

    runs/NAME/
      study.yaml  provenance.json         resolved config; versions, commit, seed, hardware
      REWARD/seed-0/train.jsonl           one line a PPO step
      REWARD/seed-0/checkpoints/step-N/   adapter (safetensors) + trainer state, with their checksums
      REWARD/seed-0/rollouts/step-N.jsonl completions on the validation prompts
      REWARD/seed-0/scores/step-N.parquet proxy with parts, gold, per prompt
      REWARD/seed-0/dev/…                 rollouts and scores on the dev prompts
      REWARD/seed-0/choice.json           the checkpoint that they choose
      calibration.jsonl                   the start policy's completions that `match` was measured on
      rejected.jsonl                      prompts left out before training, each with its reason
      monotonicity.json  report.html      the verdict as numbers; the page
      evals/BENCHMARK/                    what `eval` found of its checkpoints

Files appear whole or not at all: they are written beside their place and renamed into it. What a killed writer left
beside it goes at the next write to the same place. The training log only grows, and a resumed run cuts it back to its
checkpoint. Reading needs no deep-learning library.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from proxygold.errors import StoreError
from proxygold.json_lines import finite, iterate_jsonl, parse_jsonl, to_json
from proxygold.records import Rollout
from proxygold.whole_files import (
    find_damage,
    held_directory,
    remove_whole,
    seal,
    storage_error,
    sweep,
    whole_directory,
    whole_file,
    write_whole,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "NOT_SCORED",
    "ArmDirectory",
    "RunDirectory",
    "to_json",
    "whole_directory",
    "whole_file",
    "write_whole",
]


# The reason of a score that another process, on another machine perhaps, is still to make.
NOT_SCORED = "not scored yet"

# What to do about a damaged file that a run makes by itself.
MADE_AGAIN = "Delete the file and give the same command again: only what is missing is made."


@dataclass(frozen=True, slots=True)
class ArmDirectory:
    """One reward and one seed of a run. `path` is `runs/NAME/REWARD/seed-N`."""

    path: Path
    reward: str
    seed: int

    # --- training log -----------------------------------------------------------------------------------------------

    @property
    def train_log(self) -> Path:
        return self.path / "train.jsonl"

    def append_step(self, record: Mapping[str, Any]) -> None:
        """Add one step to the training log. `record` must hold `step`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.train_log.open("a", encoding="utf-8") as file:
                file.write(to_json(record) + "\n")
        except OSError as error:
            raise storage_error(self.train_log, error) from error

    def read_steps(self) -> list[dict[str, Any]]:
        """The steps logged so far, oldest first. A half-written last line (a killed process) is left out.

        Raises StoreError when any other line is damaged.
        """
        return list(self._logged()) if self.train_log.exists() else []

    def _logged(self) -> Iterator[dict[str, Any]]:
        # Without its newline the last line may be half of one.
        whole, _, _ = self.train_log.read_bytes().rpartition(b"\n")
        remedy = "Delete that line, which only the training curves need, and give the same command again."
        return iterate_jsonl(self.train_log, whole, {"step"}, None, remedy)

    def cut_log(self, step: int) -> None:
        """Drop what was logged after `step`, so that a resumed run writes each step once.

        Raises StoreError when a line before that is damaged. After it, whatever a power cut left is dropped too.
        """
        if not self.train_log.exists():
            return
        kept = []
        for record in self._logged() if step else ():
            if record["step"] <= step:
                kept.append(record)
            if record["step"] >= step:
                break
        write_whole(self.train_log, "".join(to_json(record) + "\n" for record in kept))

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step}"

    @contextmanager
    def write_checkpoint(self, step: int) -> Iterator[Path]:
        """Give a directory to fill with a checkpoint; it appears whole, with its checksums, or not at all."""
        with whole_directory(self.checkpoint(step)) as directory:
            yield directory
            seal(directory)
            if self.train_log.exists():  # on the disk before the checkpoint says that these steps are done
                with self.train_log.open("rb") as log:
                    os.fsync(log.fileno())

    def checkpoint_steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return _steps(self.path / "checkpoints", "")

    def last_checkpoint(self) -> tuple[int | None, dict[int, str]]:
        """The last step whose checkpoint is as it was written, and what is wrong with later ones."""
        damaged: dict[int, str] = {}
        for step in reversed(self.checkpoint_steps()):
            damage = self.checkpoint_damage(step)
            if damage is None:
                return step, damaged
            damaged[step] = damage
        return None, damaged

    def checkpoint_damage(self, step: int) -> str | None:
        """What is wrong with a checkpoint, in words; None when it is as it was written."""
        return find_damage(self.checkpoint(step))

    def prune_checkpoints(self, at: int, keep: Collection[int], newest: int = 1) -> None:
        """Remove the checkpoints up to step `at`, but for those in `keep` and the `newest` last ones."""
        past = [step for step in self.checkpoint_steps() if step <= at]
        for step in past[: max(len(past) - newest, 0)]:
            if step not in keep:
                remove_whole(self.checkpoint(step))

    def remove_checkpoints_after(self, step: int) -> None:
        """Remove the later checkpoints: what was trained after this step is to be trained again."""
        for later in reversed(self.checkpoint_steps()):
            if later > step:
                remove_whole(self.checkpoint(later))

    def sweep_checkpoints(self) -> None:
        """Remove what killed processes left of checkpoints that they were writing or removing."""
        sweep(self.path / "checkpoints")

    @property
    def trackers_file(self) -> Path:
        """What experiment trackers were told of the log."""
        return self.path / "trackers.json"

    # --- rollouts and scores ----------------------------------------------------------------------------------------

    def rollouts(self, step: int) -> Path:
        return self.path / "rollouts" / f"step-{step}.jsonl"

    def write_rollouts(self, step: int, rollouts: Iterable[Rollout]) -> None:
        write_whole(self.rollouts(step), "".join(to_json(asdict(rollout)) + "\n" for rollout in rollouts))

    def read_rollouts(self, step: int) -> list[Rollout]:
        """The answers at a checkpoint. Raises StoreError when the file is damaged."""
        path = self.rollouts(step)
        needed = {f.name for f in fields(Rollout) if f.default is MISSING}
        rows = parse_jsonl(path, path.read_bytes(), needed, {f.name for f in fields(Rollout)}, MADE_AGAIN)
        if not rows:
            raise StoreError(f"{path} is empty. {MADE_AGAIN}")
        return [Rollout(**row) for row in rows]

    def rollout_steps(self) -> list[int]:
        return _steps(self.path / "rollouts", ".jsonl")

    def scores(self, step: int) -> Path:
        return self.path / "scores" / f"step-{step}.parquet"

    def write_scores(self, step: int, table: pa.Table) -> None:
        """Write the per-prompt scores of a checkpoint.

        Columns: `prompt_id`, `query_type`, `proxy`, `proxy_reason`, `gold`, `gold_reason`, and `part/TEXT` for each
        node of the reward. A score that could not be computed is null, with its reason; one that is to be made later
        has the reason `NOT_SCORED`.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer)
        write_whole(self.scores(step), buffer.getvalue().to_pybytes())

    def read_scores(self, step: int) -> pa.Table:
        """The scores of a checkpoint. Raises StoreError when the file is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(self.scores(step))
        except (pa.ArrowException, OSError) as error:  # pyarrow says OSError for bytes that it cannot decode
            raise StoreError(f"{self.scores(step)} cannot be read ({error}). {MADE_AGAIN}") from error

    def score_steps(self) -> list[int]:
        return _steps(self.path / "scores", ".parquet")

    def scored_steps(self, by: str) -> list[int]:
        """The steps whose answers `proxy`, or `gold`, has scored."""
        return [step for step in self.score_steps() if NOT_SCORED not in self._reasons(step, by)]

    def _reasons(self, step: int, by: str) -> list[str | None]:
        table = self.read_scores(step)
        reasons: list[str | None] = table[f"{by}_reason"].to_pylist() if f"{by}_reason" in table.column_names else []
        return reasons

    # --- the checkpoint that the dev prompts choose -------------------------------------------------------------------

    @property
    def dev(self) -> ArmDirectory:
        """Where the answers to the dev prompts and their scores are, by the same names."""
        return ArmDirectory(self.path / "dev", self.reward, self.seed)

    @property
    def choice_file(self) -> Path:
        return self.path / "choice.json"

    def write_choice(self, choice: Mapping[str, Any]) -> None:
        write_whole(self.choice_file, json.dumps(finite(choice), indent=2, ensure_ascii=False) + "\n")

    def remove_choice(self) -> None:
        self.choice_file.unlink(missing_ok=True)

    def read_choice(self) -> dict[str, Any] | None:
        """The choice of a checkpoint, None before there is one. Raises StoreError when the file is damaged."""
        if not self.choice_file.exists():
            return None
        try:
            choice = json.loads(self.choice_file.read_text(encoding="utf-8"))
        except ValueError as error:  # not JSON, or not UTF-8
            raise StoreError(f"{self.choice_file} is damaged: {_place_and_problem(error)}. {MADE_AGAIN}") from error
        if not isinstance(choice, dict):
            raise StoreError(f"{self.choice_file} is damaged: it has no keys and values. {MADE_AGAIN}")
        return choice


def _steps(directory: Path, suffix: str) -> list[int]:
    if not directory.is_dir():
        return []
    ours = re.compile(rf"step-(\d+){re.escape(suffix)}")
    return sorted(int(found[1]) for entry in directory.iterdir() if (found := ours.fullmatch(entry.name)))


def _place_and_problem(error: Exception) -> str:
    """What a parser said, on one line, with the line of the file where it says one."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, {getattr(error, 'problem', None) or 'not YAML'}"
    return " ".join(str(error).split())


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A run: `path` is `runs/NAME`."""

    path: Path

    @property
    def study_file(self) -> Path:
        return self.path / "study.yaml"

    @property
    def provenance_file(self) -> Path:
        return self.path / "provenance.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    def evaluation(self, benchmark: str) -> Path:
        return self.path / "evals" / benchmark

    def exists(self) -> bool:
        return self.study_file.exists()

    def arm(self, reward: str, seed: int) -> ArmDirectory:
        return ArmDirectory(self.path / reward / f"seed-{seed}", reward, seed)

    def arms(self) -> list[ArmDirectory]:
        """Every reward and seed that the study names and that has begun, in the study's order."""
        study = self.read_study()
        rewards, seeds = study.get("rewards"), study.get("seeds")
        if not isinstance(rewards, dict) or not isinstance(seeds, list):
            raise self._damaged(self.study_file, "it lacks the rewards, by name, or the list of seeds")
        arms = [self.arm(reward, seed) for reward in rewards for seed in seeds]
        return [arm for arm in arms if arm.path.is_dir()]

    def read_study(self) -> dict[str, Any]:
        """The resolved study. Raises StoreError when this is no run directory, or its study.yaml is damaged."""
        if not self.exists():
            raise StoreError(
                f"{self.path} is not a run: it has no study.yaml. "
                "Give the directory that `proxygold run` or `proxygold demo` printed, such as runs/NAME."
            )
        try:
            study = yaml.safe_load(self.study_file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise self._damaged(self.study_file, _place_and_problem(error)) from error
        if not isinstance(study, dict):
            raise self._damaged(self.study_file, "it has no keys and values")
        return study

    def _damaged(self, file: Path, trouble: str) -> StoreError:
        return StoreError(
            f"{file} is damaged: {trouble}. A run cannot make it again: mend it, put it back from a copy, or begin "
            f"anew under another name (name=…). {self.path} is as it was."
        )

    def write_study(self, study: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(study), sort_keys=False, allow_unicode=True, width=120)
        write_whole(self.study_file, text)

    def read_provenance(self) -> dict[str, Any]:
        """Versions, commit and hardware; nothing when none were recorded. Raises StoreError when it is damaged."""
        if not self.provenance_file.exists():
            return {}
        try:
            provenance = json.loads(self.provenance_file.read_text(encoding="utf-8"))
        except ValueError as error:  # not JSON, or not UTF-8
            raise self._damaged(self.provenance_file, _place_and_problem(error)) from error
        if not isinstance(provenance, dict):
            raise self._damaged(self.provenance_file, "it has no keys and values")
        return provenance

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        write_whole(self.provenance_file, json.dumps(finite(provenance), indent=2, ensure_ascii=False) + "\n")

    @property
    def rejected_file(self) -> Path:
        return self.path / "rejected.jsonl"

    def write_rejected(self, rows: Iterable[Mapping[str, Any]]) -> None:
        write_whole(self.rejected_file, "".join(to_json(row) + "\n" for row in rows))

    def read_rejected(self) -> list[dict[str, Any]]:
        """The prompts that were left out: each with its `split` and `reason`. Raises StoreError when it is damaged."""
        if not self.rejected_file.exists():
            return []
        remedy = "Delete that line: training and verdict do not need it."
        return parse_jsonl(self.rejected_file, self.rejected_file.read_bytes(), {"split", "reason"}, None, remedy)

    def write_calibration(self, rollouts: Iterable[Rollout]) -> None:
        lines = (to_json(asdict(rollout)) + "\n" for rollout in rollouts)
        write_whole(self.path / "calibration.jsonl", "".join(lines))

    @property
    def monotonicity_file(self) -> Path:
        return self.path / "monotonicity.json"

    def write_monotonicity(self, result: Mapping[str, Any]) -> None:
        write_whole(self.monotonicity_file, json.dumps(finite(result), indent=2, ensure_ascii=False) + "\n")

    def write_report(self, html: str) -> None:
        write_whole(self.report_file, html)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run for one process. Raises StoreError at once when another process holds it."""
        return held_directory(self.path, "process. Wait for it, or give the study another name.")
