"""Run directories: the only code that knows their paths and formats.

    runs/NAME/
      study.yaml  provenance.json         resolved config; versions, commit, seed, hardware
      REWARD/seed-0/train.jsonl           one line a PPO step
      REWARD/seed-0/checkpoints/step-N/   adapter (safetensors) + trainer state
      REWARD/seed-0/rollouts/step-N.jsonl completions on the validation prompts
      REWARD/seed-0/scores/step-N.parquet proxy with parts, gold, per prompt
      calibration.jsonl                   the start policy's completions that `match` was measured on
      rejected.jsonl                      prompts left out before training, each with its reason
      monotonicity.json  report.html      the verdict as numbers; the page

Files appear whole or not at all: they are written beside their place and renamed into it. What a killed writer left
beside it goes at the next write to the same place. The training log only grows, and a resumed run cuts it back to its
checkpoint. Reading needs no deep-learning library.
"""

from __future__ import annotations

import fcntl
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from proxygold.errors import StoreError
from proxygold.records import Rollout
from proxygold.whole_files import storage_error, whole_directory, whole_file, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArmDirectory", "RunDirectory", "to_json", "whole_directory", "whole_file", "write_whole"]


def to_json(value: Any) -> str:
    """`value` as one line of JSON, NaN and infinities as null (JSON has no word for them)."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


# What to do about a damaged file that a run makes by itself.
MADE_AGAIN = "Delete the file and give the same command again: only what is missing is made."


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # a numpy scalar
        return _finite(value.item())
    return value


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
        if not self.train_log.exists():
            return []
        # Without its newline the last line may be half of one.
        whole, _, _ = self.train_log.read_bytes().rpartition(b"\n")
        remedy = "Delete that line, which only the training curves need, and give the same command again."
        return _parse_jsonl(self.train_log, whole, {"step"}, None, remedy)

    def cut_log(self, step: int) -> None:
        """Drop what was logged after `step`, so that a resumed run writes each step once."""
        if self.train_log.exists():
            kept = [record for record in self.read_steps() if record["step"] <= step]
            write_whole(self.train_log, "".join(to_json(record) + "\n" for record in kept))

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step}"

    @contextmanager
    def write_checkpoint(self, step: int) -> Iterator[Path]:
        """Give a directory to fill with a checkpoint; it appears whole or not at all."""
        with whole_directory(self.checkpoint(step)) as directory:
            yield directory

    def checkpoint_steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return _steps(self.path / "checkpoints", "")

    # --- rollouts and scores ----------------------------------------------------------------------------------------

    def rollouts(self, step: int) -> Path:
        return self.path / "rollouts" / f"step-{step}.jsonl"

    def write_rollouts(self, step: int, rollouts: Iterable[Rollout]) -> None:
        write_whole(self.rollouts(step), "".join(to_json(asdict(rollout)) + "\n" for rollout in rollouts))

    def read_rollouts(self, step: int) -> list[Rollout]:
        """The answers at a checkpoint. Raises StoreError when the file is damaged."""
        path = self.rollouts(step)
        needed = {f.name for f in fields(Rollout) if f.default is MISSING}
        rows = _parse_jsonl(path, path.read_bytes(), needed, {f.name for f in fields(Rollout)}, MADE_AGAIN)
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
        node of the reward. A score that could not be computed is null, with its reason.
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


def _steps(directory: Path, suffix: str) -> list[int]:
    if not directory.is_dir():
        return []
    ours = re.compile(rf"step-(\d+){re.escape(suffix)}")
    return sorted(int(found[1]) for entry in directory.iterdir() if (found := ours.fullmatch(entry.name)))


def _parse_jsonl(
    path: Path, content: bytes, needed: set[str], allowed: set[str] | None, remedy: str
) -> list[dict[str, Any]]:
    """The records of a JSONL file of ours. Raises StoreError with the line of one that is damaged, and the remedy.

    A record has the `needed` keys and, unless that is None, no others than `allowed`. Blank lines are passed over.
    """
    rows = []
    # Not splitlines(): it also breaks at characters that JSON leaves bare inside a text, such as U+2028.
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except ValueError as error:  # not JSON, or not UTF-8
            problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise StoreError(f"{path}:{number} is not JSON ({problem}). {remedy}") from error
        if not isinstance(row, dict) or not needed <= row.keys() or not (allowed is None or row.keys() <= allowed):
            raise StoreError(f"{path}:{number} is not a record of this kind. {remedy}")
        rows.append(row)
    return rows


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
        write_whole(self.provenance_file, json.dumps(_finite(provenance), indent=2, ensure_ascii=False) + "\n")

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
        return _parse_jsonl(self.rejected_file, self.rejected_file.read_bytes(), {"split", "reason"}, None, remedy)

    def write_calibration(self, rollouts: Iterable[Rollout]) -> None:
        lines = (to_json(asdict(rollout)) + "\n" for rollout in rollouts)
        write_whole(self.path / "calibration.jsonl", "".join(lines))

    @property
    def monotonicity_file(self) -> Path:
        return self.path / "monotonicity.json"

    def write_monotonicity(self, result: Mapping[str, Any]) -> None:
        write_whole(self.monotonicity_file, json.dumps(_finite(result), indent=2, ensure_ascii=False) + "\n")

    def write_report(self, html: str) -> None:
        write_whole(self.report_file, html)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for one process. Raises StoreError at once when another process holds it.

        The lock is the kernel's, so it goes when its process dies; nothing has to be cleaned up by hand.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("a+")
        except OSError as error:
            raise storage_error(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"{self.path} is in use by another process. Wait for it, or give the study another name."
                ) from error
            yield
