"""What `train sft` reads and prints: settings from a file and from what was typed, rows, and what the training made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt, field_validator
from rich.console import Console

from proxygold.data.demonstrations import AnswerColumn, Demonstration, read_demonstrations
from proxygold.data.files import RejectedRow
from proxygold.data.published import Role
from proxygold.data.source_settings import SourceSettings
from proxygold.errors import ConfigError, DataError
from proxygold.study.loading import parse_settings
from proxygold.training.sft import TrainedModel, is_first_process, train_sft
from proxygold.training.sft_config import SFTConfig

__all__ = ["SFTJob", "load_job", "run_sft_job"]

_LISTED = 10


class SFTJob(SFTConfig):
    """A training, the rows that it is made with, and where it goes: what a file for `--config` may hold."""

    data: Annotated[tuple[SourceSettings, ...], Field(min_length=1)]
    """Files, directories, patterns, hub data sets or known ones: each a word or a mapping, as in a study."""
    held_out_data: tuple[SourceSettings, ...] = ()
    """Rows to measure the loss on, in place of a share of `data`."""
    answers: AnswerColumn | None = None
    """The column that holds the answer, where rows have several that could."""
    limit: PositiveInt | None = None
    """Use the first so many rows of `data`."""
    out: Annotated[str, Field(min_length=1)]

    @field_validator("data", "held_out_data", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Mapping) else value

    @property
    def training(self) -> SFTConfig:
        return SFTConfig(**self.model_dump(include=set(SFTConfig.model_fields)))


def load_job(config: Path | None, words: Sequence[str], options: Mapping[str, Any]) -> SFTJob:
    """Settings from a file, with `options` put over them, and what was typed: data, and `key=value`.

    Raises ConfigError for a file that cannot be read and for every mistake in the settings.
    """
    text, source = "{}", "train sft"
    if config is not None:
        source = str(config)
        try:
            text = config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {config}: {error}. Give a YAML file of settings.") from error
    data = [word for word in words if "=" not in word or Path(word).exists()]
    given = {**options, **({"data": data} if data else {})}
    # JSON is YAML, whatever is in a path.
    overrides = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    return parse_settings(SFTJob, text, [*overrides, *(word for word in words if word not in data)], source)


def run_sft_job(job: SFTJob, *, strict: bool = False) -> int:
    """Read the rows, train, print what came of it and what was left out. Returns the exit code.

    That is 2 under `strict` when a row was unusable, else 0. Raises DataError when no row can be used, and what
    `train_sft` raises.
    """
    console = Console()
    rows, rejected = _read(job.data, job.answers, "train", job.limit)
    held_out = None
    if job.held_out_data:
        held_out, more = _read(job.held_out_data, job.answers, "dev", None)
        rejected += more
    verbose = Console(stderr=True).is_terminal and is_first_process()
    result = train_sft(job.training, rows, Path(job.out), held_out=held_out, verbose=verbose)
    if not is_first_process():
        return 0
    for line in _summary(result, job):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    unusable = [*map(str, rejected), *result.refused]
    if unusable:
        console.print(f"{len(unusable)} rows could not be used:", highlight=False)
        for line in unusable[:_LISTED]:
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
        if len(unusable) > _LISTED:
            console.print(f"  and {len(unusable) - _LISTED} more", highlight=False)
    kind = "model  " if job.lora is None else "adapter"
    console.print(f"{kind}  {result.directory}", highlight=False, markup=False, soft_wrap=True)
    settings = json.dumps({"model": str(result.directory), "prompt_template": job.prompt_template}, ensure_ascii=False)
    console.print(f"in a study: policy: {settings}", highlight=False, markup=False, soft_wrap=True)
    return 2 if strict and unusable else 0


def _summary(result: TrainedModel, job: SFTJob) -> list[str]:
    lines = [
        f"trained on {result.rows} rows ({result.learned_tokens} tokens of answers) in {result.steps} steps, "
        f"last loss {result.final_loss:.3f}"
    ]
    if result.before is not None and result.after is not None:
        lines.append(
            f"{result.held_out_rows} held-out rows ({result.after.tokens} tokens of answers): "
            f"loss {result.before.loss:.3f} -> {result.after.loss:.3f} nats a token, "
            f"most likely token right {result.before.accuracy:.1%} -> {result.after.accuracy:.1%}"
        )
    elif result.held_out_rows:
        lines.append(f"the loss on {result.held_out_rows} held-out rows was not measured: the weights were sharded")
    else:
        lines.append("nothing was held out, so nothing says how good the model is on other rows")
    if result.too_long:
        lines.append(f"{result.too_long} conversations over {result.max_length} tokens were left out")
    if result.shared:
        lines.append(f"{result.shared} rows were not trained on: their prompts are in held_out_data too")
    return lines


def _read(
    sources: Sequence[SourceSettings], answers: AnswerColumn | None, role: Role, limit: int | None
) -> tuple[list[Demonstration], list[RejectedRow]]:
    rows: list[Demonstration] = []
    rejected: list[RejectedRow] = []
    for row in read_demonstrations(sources, answers=answers, role=role, limit=limit):
        if isinstance(row, Demonstration):
            rows.append(row)
        else:
            rejected.append(row)
    if not rows:
        raise DataError(f"no row of {', '.join(map(str, sources))} can be used. The first trouble is {rejected[0]}")
    return rows, rejected
