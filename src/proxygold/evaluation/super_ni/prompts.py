"""How an instance of Super-NaturalInstructions is asked."""

from __future__ import annotations

import string
from typing import Literal

from proxygold.errors import DataError
from proxygold.evaluation.super_ni.data import Instance

__all__ = ["PROTOCOLS", "Protocol", "instance_prompt"]

Protocol = Literal["paper", "official"]
PROTOCOLS: tuple[Protocol, ...] = ("paper", "official")


def instance_prompt(instance: Instance, protocol: Protocol, examples: int = 0) -> str:
    r"""What the model is asked, before any prompt template.

    `paper` (Kim and Seo 2024): definition, blank line, input. `official` (Wang et al. 2022): labelled parts, and before
    the question the first `examples` positive examples; what does not end with punctuation gets a full stop.

    Raises DataError for an instance without a question.

    >>> instance = Instance("1", "t", None, "Add up.", "1 and 2", ("3",), (("2 and 2", "4"),))
    >>> instance_prompt(instance, "paper")
    'Add up.\n\n1 and 2'
    >>> print(instance_prompt(instance, "official", examples=1))
    Definition: Add up.
    <BLANKLINE>
     Positive Example 1 -
    Input: 2 and 2.
     Output: 4.
    <BLANKLINE>
    Now complete the following example -
    Input: 1 and 2.
    Output:
    """
    if instance.definition is None or instance.input is None:
        raise DataError(
            f"the instance {instance.id!r} has references but no question, so no model can answer it. Give the task "
            "files, or rows with instruction and input; references alone are enough for --outputs."
        )
    if protocol == "paper":
        return f"{instance.definition.strip()}\n\n{instance.input.strip()}"
    shown = [
        f" Positive Example {number} -\n{_ended('Input', question)}\n {_ended('Output', answer)}\n\n"
        for number, (question, answer) in enumerate(instance.examples[:examples], start=1)
    ]
    question = f"Now complete the following example -\n{_ended('Input', instance.input)}\nOutput: "
    return f"{_ended('Definition', instance.definition)}\n\n{''.join(shown)}{question}"


def _ended(label: str, text: str) -> str:
    part = f"{label}: {text.strip()}"
    return part if part[-1] in string.punctuation else f"{part}."
