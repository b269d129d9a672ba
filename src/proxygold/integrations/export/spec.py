"""What is exported, whichever trainer it is for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxygold.records import PromptRecord

__all__ = ["ExportSpec", "launch_script", "reward_call"]


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """A reward, a model and prompts.

    `line`: the canonical line, every `match` measured. `options`: what `proxygold.reward` takes besides, without what
    is the default. `validation` can be empty. `steps`: training steps. `fallback`: for completions without a score.
    """

    line: str
    options: Mapping[str, Any]
    model: str
    train: Sequence[PromptRecord]
    validation: Sequence[PromptRecord]
    steps: int = 5_000
    max_new_tokens: int = 512
    fallback: float = 0.0


def reward_call(function: str, spec: ExportSpec) -> str:
    """The Python call of `function` with the reward's line and options, written out.

    >>> reward_call("reward", ExportSpec("LI", {"encoder": {"model": "m"}}, "model", [], []))
    "reward('LI', encoder={'model': 'm'})"
    """
    arguments = [repr(spec.line), *(f"{name}={value!r}" for name, value in spec.options.items())]
    if spec.fallback:
        arguments.append(f"fallback={spec.fallback!r}")
    return f"{function}({', '.join(arguments)})"


def launch_script(remarks: Sequence[str], program: str, settings: Sequence[Sequence[str]]) -> str:
    """A shell script that runs `program` beside itself: each setting, of one word or more, on a line; then its own
    arguments."""
    lines = [program, *(" ".join(map(shlex.quote, words)) for words in settings), '"$@"']
    opening = ["#!/usr/bin/env bash", *(f"# {remark}" for remark in remarks), "set -euo pipefail"]
    return "\n".join([*opening, 'cd "$(dirname "$0")"', " \\\n  ".join(lines)]) + "\n"
