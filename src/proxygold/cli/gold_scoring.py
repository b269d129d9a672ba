"""What `score --gold` reads and prints."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from proxygold.errors import ConfigError
from proxygold.store import RunDirectory

__all__ = ["score_gold_in"]


def score_gold_in(words: Sequence[str], *, without: Sequence[str] = ()) -> None:
    """Score the answers of each run directory among `words` with gold; the others are settings, gold.KEY=VALUE.

    `without`: options that were given and have no meaning here. Raises ConfigError for these, and what `score_gold`
    raises.
    """
    from proxygold.cli.outcome import do_and_print
    from proxygold.study.later_gold import score_gold

    if without:
        raise ConfigError(
            f"{without[0]} does not go with --gold, which adds gold's scores to a run directory. To score rows of data "
            "with a reward model: --reward 'RM(\"MODEL\")' --out FILE."
        )
    settings = [word for word in words if word.startswith("gold.") and "=" in word and not Path(word).exists()]
    runs = [word for word in words if word not in settings]
    if not runs:
        raise ConfigError("there is no run to score. Give its directory, such as runs/NAME.")
    for run in runs:
        do_and_print(functools.partial(score_gold, RunDirectory(Path(run)), settings))
