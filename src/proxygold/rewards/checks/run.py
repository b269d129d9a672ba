"""All checks on a reward, in order: first what others rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from proxygold.errors import ProxygoldError
from proxygold.records import Example
from proxygold.rewards.checks.finding import FAIL, SKIP, CheckReport, Finding, Outcome, fail
from proxygold.rewards.checks.forms import missing_columns, prompts_as_messages, trl_call
from proxygold.rewards.checks.long_answers import hundred_thousand_characters
from proxygold.rewards.checks.processes import another_process, pickling, stable_id
from proxygold.rewards.checks.repeats import alone, any_order, eight_threads, twice
from proxygold.rewards.checks.speed import throughput
from proxygold.rewards.checks.subject import Subject, make_subject
from proxygold.rewards.checks.surroundings import leaves_all_as_it_was
from proxygold.rewards.checks.texts import (
    control_characters,
    emoji_and_right_to_left,
    empty,
    one_character,
    unspaced_scripts,
)
from proxygold.rewards.checks.values import finite, follows_length, not_constant, scale
from proxygold.rewards.runtime import Reward

__all__ = ["CHECKS", "Check", "check_reward"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check, by its name in the table. `needs`: checks without which its answer would mean nothing."""

    name: str
    run: Callable[[Subject], Outcome]
    needs: tuple[str, ...] = ()


CHECKS: tuple[Check, ...] = (
    Check("finite values", finite),
    Check("same twice", twice),
    Check("any order", any_order, ("same twice",)),
    Check("alone as in a batch", alone, ("same twice", "any order")),
    Check("eight threads", eight_threads, ("same twice",)),
    Check("pickling", pickling),
    Check("another process", another_process, ("same twice", "pickling")),
    Check("reward_id", stable_id, ("pickling",)),
    Check("side effects", leaves_all_as_it_was),
    Check("empty completion", empty),
    Check("one character", one_character),
    Check("100,000 characters", hundred_thousand_characters),
    Check("emoji, right to left", emoji_and_right_to_left),
    Check("scripts without spaces", unspaced_scripts),
    Check("control characters", control_characters),
    Check("prompts as messages", prompts_as_messages),
    Check("missing columns", missing_columns),
    Check("TRL's call", trl_call, ("same twice",)),
    Check("not constant", not_constant),
    Check("scale", scale),
    Check("length", follows_length),
    Check("throughput", throughput),
)


def check_reward(
    reward: Reward,
    examples: Sequence[Example] | None = None,
    *,
    advance: Callable[[str], None] = lambda name: None,
) -> CheckReport:
    """Vet a reward as a trainer will use it, on ordinary `examples`: by default answers to the built-in prompts.

    A `match` that was not measured is measured on them. `advance` is told the name of each check that begins. User
    code runs in this process, in threads and in a process of its own; only the main thread can stop it when it hangs.

    Raises RewardError when the examples lack a column that the reward requires, and what loading it raises.
    """
    subject = make_subject(reward, examples)
    findings: dict[str, Finding] = {}
    with closing(subject.child):  # it works while the first checks run
        for check in CHECKS:
            advance(check.name)
            findings[check.name] = _run(check, subject, findings)
    stable = findings["reward_id"]
    return CheckReport(
        line=str(subject.reward),
        reward_id=subject.reward.reward_id if stable.status not in (FAIL, SKIP) else None,
        examples=len(subject.examples),
        findings=tuple(findings.values()),
    )


def _run(check: Check, subject: Subject, findings: dict[str, Finding]) -> Finding:
    for needed in check.needs:
        if findings[needed].status in (FAIL, SKIP):
            return Finding(check.name, SKIP, f"cannot be told while {needed!r} is not ok")
    try:
        outcome = check.run(subject)
    except ProxygoldError as error:
        outcome = fail(str(error), "A reward must not stop a trainer: give NaN where there is no score.")
    except Exception as error:  # noqa: BLE001 - what stops a score would stop a trainer, whatever it is
        outcome = fail(f"{type(error).__name__}: {error}", "A reward must not stop a trainer: mend what raises.")
    return Finding(check.name, outcome.status, outcome.seen, outcome.remedy)
