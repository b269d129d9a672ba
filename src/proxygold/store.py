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

Files appear whole or not at all: they are written beside their place and renamed into it. The training log only
grows, and a resumed run cuts it back to its checkpoint. Reading needs no deep-learning library.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from proxygold.errors import StoreError
from proxygold.records import Rollout

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArmDirectory", "RunDirectory", "to_json", "whole_directory", "whole_file", "write_whole"]


def to_json(value: Any) -> str:
    """`value` as one line of JSON, NaN and infinities as null (JSON has no word for them)."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


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


def _beside(path: Path) -> Path:
    # The process id and a random part keep two writers apart; the leading dot keeps readers away.
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def _storage_error(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {path}: {error.strerror or error}. Nothing was written over. "
        "Free some space or choose another place, then run the same command again: what is done is kept."
    )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it appears whole or not at all. Raises StoreError when the disk refuses."""
    data = content.encode() if isinstance(content, str) else content
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        with suppress(OSError):  # where it could not be made, or is renamed already, there is nothing to remove
            temporary.unlink()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes its place at `path` when the block ends without an error, else it vanishes."""
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Give a directory to fill; it takes its place at `path` when the block ends without an error, else it vanishes."""
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
            raise _storage_error(self.train_log, error) from error

    def read_steps(self) -> list[dict[str, Any]]:
        """The steps logged so far, oldest first. A half-written last line (a killed process) is left out."""
        if not self.train_log.exists():
            return []
        lines = self.train_log.read_text(encoding="utf-8").split("\n")
        # Without its newline the last line may be half of one.
        return [json.loads(line) for line in lines[:-1] if line]

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
        return [Rollout(**row) for row in _read_jsonl(self.rollouts(step), {f.name for f in fields(Rollout)})]

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
        import pyarrow.parquet as pq

        return pq.read_table(self.scores(step))

    def score_steps(self) -> list[int]:
        return _steps(self.path / "scores", ".parquet")


def _steps(directory: Path, suffix: str) -> list[int]:
    if not directory.is_dir():
        return []
    names = (entry.name for entry in directory.iterdir() if entry.name.startswith("step-"))
    return sorted(int(name.removeprefix("step-").removesuffix(suffix)) for name in names if name.endswith(suffix))


def _read_jsonl(path: Path, allowed: set[str]) -> list[dict[str, Any]]:
    rows = []
    # Not splitlines(): it also breaks at characters that JSON leaves bare inside a text, such as U+2028.
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise StoreError(
                f"{path}:{number} is not JSON ({error}). Delete the file to have it made again."
            ) from error
        if not isinstance(row, dict) or not set(row) <= allowed:
            raise StoreError(f"{path}:{number} is not a record of this kind. Delete the file to have it made again.")
        rows.append(row)
    return rows


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
        arms = [self.arm(reward, seed) for reward in study["rewards"] for seed in study["seeds"]]
        return [arm for arm in arms if arm.path.is_dir()]

    def read_study(self) -> dict[str, Any]:
        """The resolved study. Raises StoreError when this is no run directory."""
        if not self.exists():
            raise StoreError(
                f"{self.path} is not a run: it has no study.yaml. "
                "Give the directory that `proxygold run` or `proxygold demo` printed, such as runs/NAME."
            )
        study = yaml.safe_load(self.study_file.read_text(encoding="utf-8"))
        if not isinstance(study, dict):
            raise StoreError(f"{self.study_file} is damaged: a mapping was expected.")
        return study

    def write_study(self, study: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(study), sort_keys=False, allow_unicode=True, width=120)
        write_whole(self.study_file, text)

    def read_provenance(self) -> dict[str, Any]:
        if not self.provenance_file.exists():
            return {}
        provenance: dict[str, Any] = json.loads(self.provenance_file.read_text(encoding="utf-8"))
        return provenance

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        write_whole(self.provenance_file, json.dumps(_finite(provenance), indent=2, ensure_ascii=False) + "\n")

    @property
    def rejected_file(self) -> Path:
        return self.path / "rejected.jsonl"

    def write_rejected(self, rows: Iterable[Mapping[str, Any]]) -> None:
        write_whole(self.rejected_file, "".join(to_json(row) + "\n" for row in rows))

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
            raise _storage_error(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"{self.path} is in use by another process. Wait for it, or give the study another name."
                ) from error
            yield
