"""The rewards to test, out of what a user names: reward lines, reward models, and scores that exist already."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from proxygold.errors import ConfigError, RewardError
from proxygold.evaluation.reward_bench.pair_scores import RewardJudge
from proxygold.evaluation.reward_bench.recorded_scores import RecordedScores, read_recorded_scores
from proxygold.rewards.options import reward_from_options
from proxygold.rewards.score_file import calibrate_on_file

__all__ = ["open_rewards"]

# A name and what it names. A line has signs before its first `=`, where it has one: `LI(words="unicode")`.
_NAMED = re.compile(r"(?P<name>[\w.+-][\w.+ -]*)=(?P<what>.+)", re.DOTALL)


def open_rewards(
    lines: Sequence[str],
    models: Sequence[str],
    recorded: Sequence[str],
    *,
    encoder: str | None = None,
    settings: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    calibrate: Path | None = None,
) -> list[RewardJudge | RecordedScores]:
    """What `--reward`, `--model` and `--scores` name, in that order, each as `[NAME=]WHAT`.

    `encoder`, `settings`, `plugins`: of all lines. `calibrate`: the completions that a `match` is measured on. Raises
    ConfigError when nothing is named or two have one name, RewardError for a line that is not allowed or has a `match`
    that is not measured, DataError for scores that cannot be read.
    """
    if not (lines or models or recorded):
        raise ConfigError(
            "there is no reward to test. Give --reward LINE, --model MODEL (a reward model), or --scores FILE with "
            "scores that exist already; each more than once to compare several."
        )
    opened: list[RewardJudge | RecordedScores] = []
    named = [_named(line) for line in lines]
    named += [(name, f"RM({what!r})") for name, what in map(_named, models)]
    for name, line in named:
        reward = reward_from_options(line, encoder, settings, plugins)
        if calibrate is not None:
            reward = calibrate_on_file(reward, calibrate)
        elif not reward.resolved:
            raise RewardError(
                f"{reward} has a `match` that has not been measured. Measure it with --calibrate FILE, on completions "
                "of the policy that training starts from, or write your own numbers: "
                "rescale(AR, 0, highest, 0, new_highest)."
            )
        opened.append(RewardJudge(name, reward))
    for name, file in map(_named, recorded):
        opened.append(read_recorded_scores(Path(file).expanduser(), Path(file).stem if name == file else name))
    names = [each.name for each in opened]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"{twice[0]!r} is the name of more than one of those to compare. Give each its own: NAME=….")
    return opened


def _named(given: str) -> tuple[str, str]:
    """Without a name, what is typed is its own."""
    found = _NAMED.fullmatch(given.strip())
    if found and not Path(given).expanduser().exists():
        return found["name"].strip(), found["what"].strip()
    return given.strip(), given.strip()
