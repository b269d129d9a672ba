"""What `train reward-model` reads and prints: files of pairs, and a table of what the trained model is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from proxygold.data.files import RejectedRow
from proxygold.data.preferences import PreferencePair, read_preferences
from proxygold.errors import ConfigError, DataError
from proxygold.training.pair_accuracy import AccuracyTable
from proxygold.training.reward_model import RewardModelConfig, train_reward_model

__all__ = ["accuracy_table", "run_reward_model_job"]

_LISTED = 10


def run_reward_model_job(
    files: Sequence[Path],
    out: Path,
    *,
    settings: Mapping[str, Any],
    held_out_file: Path | None = None,
    chat_template_file: Path | None = None,
    strict: bool = False,
) -> int:
    """Read the pairs, train, print the table and what was left out. Returns the exit code.

    That is 2 under `strict` when a row was unusable, else 0. Raises ConfigError for a setting out of range,
    DataError when no pair can be used, and what `train_reward_model` raises.
    """
    console = Console()
    try:
        config = RewardModelConfig(**settings, chat_template=_template(chat_template_file))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first['input']!r})") from error
    pairs, rejected = _read(files)
    held_out = None
    if held_out_file is not None:
        held_out, more = _read([held_out_file])
        rejected += more
    result = train_reward_model(config, pairs, out, held_out=held_out, verbose=Console(stderr=True).is_terminal)

    console.print(accuracy_table(result.accuracy))
    console.print(
        f"trained on {result.trained_pairs} pairs in {result.steps} steps, last loss {result.final_loss:.3f} "
        f"(0.693 is chance); {result.dropped_pairs} pairs over {config.max_length} tokens were left out",
        highlight=False,
    )
    if result.shared_pairs:
        console.print(
            f"{result.shared_pairs} pairs were not trained on: their prompts are in {held_out_file} too",
            highlight=False,
            markup=False,
        )
    unusable = [*map(str, rejected), *result.refused]
    if unusable:
        console.print(f"{len(unusable)} rows could not be used:", highlight=False)
        for line in unusable[:_LISTED]:
            console.print(f"  {line}", highlight=False, markup=False)
        if len(unusable) > _LISTED:
            console.print(f"  and {len(unusable) - _LISTED} more", highlight=False)
    console.print(f"reward model  {result.directory}", highlight=False)
    return 2 if strict and unusable else 0


def accuracy_table(accuracy: AccuracyTable) -> Table:
    """The accuracies as a table to print."""
    table = Table(title="Accuracy on held-out pairs", title_justify="left")
    table.add_column("pairs")
    table.add_column("n", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("95% interval", justify="right")
    for row in accuracy.rows():
        shown = (f"{row.value:.1%}", f"{row.low:.1%} to {row.high:.1%}") if row.n else ("none", "")
        table.add_row(row.name, str(row.n), *shown)
    return table


def _read(files: Sequence[Path]) -> tuple[list[PreferencePair], list[RejectedRow]]:
    pairs: list[PreferencePair] = []
    rejected: list[RejectedRow] = []
    for file in files:
        for row in read_preferences(file):
            if isinstance(row, PreferencePair):
                pairs.append(row)
            else:
                rejected.append(row)
    if not pairs:
        names = ", ".join(map(str, files))
        raise DataError(f"no row of {names} can be used. The first trouble is {rejected[0]}")
    return pairs, rejected


def _template(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        # The newline at the end of the file is the editor's, not the template's.
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the chat template {file}: {error}. Give a Jinja file.") from error
