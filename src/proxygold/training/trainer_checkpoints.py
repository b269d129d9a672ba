"""Checkpoints of transformers' Trainer: written whole or told about, and the newest one found again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from proxygold.errors import StoreError

__all__ = ["last_checkpoint", "watch_checkpoints"]


def watch_checkpoints(trainer: Any, directory: Path) -> None:
    """Make the trainer raise StoreError when a checkpoint cannot be written, and leave nothing of that one behind."""
    save = trainer._save_checkpoint

    def save_or_say(*arguments: Any) -> None:
        try:
            save(*arguments)
        # A full disk is an OSError, a SafetensorError, torch's RuntimeError or, of tokenizers, a bare Exception.
        except Exception as error:
            shutil.rmtree(directory / f"checkpoint-{trainer.state.global_step}", ignore_errors=True)
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise StoreError(
                f"cannot write {directory}: {reason}. Free some space, then give the same command again: it goes on "
                "from the last checkpoint."
            ) from error

    trainer._save_checkpoint = save_or_say


def last_checkpoint(directory: Path) -> str | None:
    """The newest checkpoint that was written to its end: the trainer's state is the last file of one."""
    complete = [path for path in directory.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2]))) if complete else None
