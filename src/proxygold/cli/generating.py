"""What `generate` does with its options, and how it prints answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from proxygold.errors import ConfigError, DataError, StoreError
from proxygold.models.generation import Completion, generate
from proxygold.models.hub import find_checkpoint
from proxygold.models.merging import ADAPTER_FILE
from proxygold.models.policy_settings import PolicySettings, SamplingSettings
from proxygold.models.sampling_policy import load_sampling_policy
from proxygold.records import PromptRecord
from proxygold.store import to_json, whole_file
from proxygold.study.progress import StudyProgress
from proxygold.study.prompts import read_split

__all__ = ["run_generation"]

_LISTED = 10


def run_generation(
    model: Mapping[str, Any],
    sampling: Mapping[str, Any],
    *,
    source: str | None,
    texts: Sequence[str],
    out: Path | None,
    limit: int | None,
    samples: int,
    seed: int,
    batch_size: int,
    overwrite: bool,
    strict: bool,
) -> int:
    """Answer the prompts of `source` and `texts`, and print or write what came. Returns the exit code.

    Raises ConfigError for settings out of range or when there is nothing to answer, DataError when no prompt can be
    used, StoreError when `out` exists, and what loading a model raises.
    """
    if not texts and source is None:
        raise ConfigError("there is nothing to answer. Give prompts: DATA (a file, builtin, …) or --prompt TEXT.")
    if out is not None and out.exists() and not overwrite:
        raise StoreError(f"{out} exists. Give another --out, or write over it with --force.")
    try:
        settings, drawn = PolicySettings(**model), SamplingSettings(**sampling)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first['input']!r})") from error
    records = [PromptRecord(f"prompt-{number}", text) for number, text in enumerate(texts, start=1)]
    left_out: list[str] = []
    if source is not None:
        more, rejected = read_split(source, "validation", limit)
        records += more
        left_out += [f"{source} {row['id']}: {row['reason']}" for row in rejected]
    find_checkpoint(settings.model, "model", ["config.json", ADAPTER_FILE])
    policy = load_sampling_policy(settings)
    usable = []
    for record in records:
        try:
            policy.prompts.check_room(len(policy.prompts.encode(record.prompt)), drawn.max_new_tokens)
            usable.append(record)
        except DataError as error:
            left_out.append(f"{record.id}: {error}")
    if not usable:
        raise DataError(f"no prompt can be answered. The first trouble is {left_out[0]}")
    with StudyProgress().track("generate", total=len(usable) * samples) as advance:
        done = 0

        def count(total: int) -> None:
            nonlocal done
            advance(total - done)
            done = total

        answers = generate(
            policy,
            [record.prompt for record in usable],
            drawn,
            seed=seed,
            samples_per_prompt=samples,
            batch_size=batch_size,
            progress=count,
        )
    pairs = [(record, answers[number * samples : (number + 1) * samples]) for number, record in enumerate(usable)]
    if out is None:
        _print(pairs)
    else:
        _write(pairs, out)
    said = Console(stderr=True)
    for line in left_out[:_LISTED]:
        said.print(f"left out {line}", highlight=False, markup=False, soft_wrap=True)
    if len(left_out) > _LISTED:
        said.print(f"and {len(left_out) - _LISTED} more prompts were left out", highlight=False)
    return 2 if strict and left_out else 0


def _print(pairs: Sequence[tuple[PromptRecord, Sequence[Completion]]]) -> None:
    console = Console()
    for record, answers in pairs:
        if isinstance(record.prompt, str):
            console.print(f"> {record.prompt}", style="bold", highlight=False, markup=False, soft_wrap=True)
        else:
            for message in record.prompt:
                text = f"> {message['role']}: {message['content']}"
                console.print(text, style="bold", highlight=False, markup=False, soft_wrap=True)
        for answer in answers:
            text = answer.text.strip() + ("" if answer.finished else " […]")
            console.print(text, highlight=False, markup=False, soft_wrap=True)
            console.print()


def _write(pairs: Sequence[tuple[PromptRecord, Sequence[Completion]]], out: Path) -> None:
    count = 0
    with whole_file(out) as file, file.open("w", encoding="utf-8") as lines:
        for record, answers in pairs:
            for answer in answers:
                row = {
                    "id": record.id,
                    "prompt": record.prompt,
                    "completion": answer.text,
                    "reference": record.reference,
                    "query_type": record.query_type,
                    "tokens": len(answer.token_ids),
                    "finished": answer.finished,
                }
                lines.write(to_json({key: value for key, value in row.items() if value is not None}) + "\n")
                count += 1
    print(f"{count} answers  {out}")
