r"""math_match, whether the completion's final answer is the reference's number or formula."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from proxygold.features.context import FeatureContext
from proxygold.features.final_answer import final_answer
from proxygold.features.math_process import same_answers
from proxygold.features.references import missing_package, with_reference
from proxygold.features.registry import Feature, FeatureValues, reasoned, register_feature
from proxygold.records import Example

__all__ = ["math_match"]

# An answer is no longer than this, and without a marker it stands within the last so many characters.
_LONGEST = 1_000
_PLAIN = re.compile(r"(?P<sign>-?)[$€£¥]? ?(?P<whole>\d{1,3}(?:,\d{3})+|\d{1,40})(?P<part>\.\d{1,40})?\.?")
_UNREADABLE = "math_match: the reference has no number and no formula that math-verify can read"


def math_match(examples: Sequence[Example], context: FeatureContext) -> FeatureValues:
    r"""math_match = 1 where the final answers of completion and reference are equal in value, else 0.

    Equal is what the math-verify package finds equal: 0.5, 1/2, `\frac{1}{2}` and 50% are, and so are formulas
    that simplify to the same; decimals count to 6 places. The final answer, of both: the last `\boxed{…}`; else
    what follows the last `####`, `answer is`, `answer:`, or `A:` at the start of a line; else the last number or
    formula of the text (of its last 1,000 characters). The completion is first cut at its stop strings.

    Source: Kydlíček 2025, math-verify; the reward of verifiable answers of Lambert et al. 2024 (Tülu 3) and
    DeepSeek-AI 2025 (R1).

    Range: 0 or 1. A completion that is empty or has no answer that can be read gets 0: it is not the answer. So
    does one whose answer takes more than two seconds of processor time to compare (`9**9**9**9`); nothing can
    hang, and threads may share it. NaN, with the reason, where there is no reference, or none that can be read.
    How it is gamed: by guessing, where few numbers are likely. A formula in a reference needs `$…$` or
    `\boxed{…}` around it to be seen. Without a marker, the last number of a chatty answer counts, which may be
    another than the one meant: ask for `\boxed{}` or `####` in the prompt.

    >>> examples = [Example("?", "9 * 2 = 18. The answer is $18.", reference="... #### 18.0"),
    ...             Example("?", "#### 17", reference="18")]
    >>> math_match(examples, FeatureContext()).values.tolist()
    [1.0, 0.0]
    """
    if not _installed():
        raise missing_package("math_match", ImportError(name="math_verify"))
    rows, reasons = with_reference(examples, "math_match")
    pairs = [
        (_candidate(examples[row].reference or ""), _candidate(context.trimmed(examples[row].completion)))
        for row in rows
    ]
    results = {pair: _at_once(*pair) for pair in pairs}
    hard = [pair for pair, result in results.items() if result is None]
    unreadable = set()
    for pair, same in zip(hard, same_answers(hard), strict=True):
        results[pair] = bool(same)
        if same is None:
            unreadable.add(pair)
    values = np.full(len(examples), np.nan)
    for row, pair in zip(rows, pairs, strict=True):
        if pair in unreadable:
            reasons[row] = _UNREADABLE
        else:
            values[row] = float(bool(results[pair]))
    return reasoned(values, reasons)


def _candidate(text: str) -> str:
    """The final answer in a form that math-verify finds in it, short."""
    answer = final_answer(text)
    if answer.kind == "boxed":
        return rf"\boxed{{{answer.text[:_LONGEST]}}}"
    if answer.kind == "marked":
        return "answer: " + answer.text[:_LONGEST]
    end = answer.text[-_LONGEST:]
    # Not from the middle of a line, where a formula may have been cut in two.
    return end if end == answer.text or "\n" not in end else end.partition("\n")[2]


def _at_once(reference: str, answer: str) -> bool | None:
    """Whether two plain numbers are equal, without sympy: most answers are one. None: not for this function.

    A test holds that math-verify says the same.
    """
    numbers = _number(reference), _number(answer)
    if numbers[0] is None or numbers[1] is None:
        return None
    if numbers[0] == numbers[1]:
        return True
    # Decimals can be equal by rounding.
    return False if all(number is not None and number.denominator == 1 for number in numbers) else None


def _number(candidate: str) -> Fraction | None:
    text = candidate.removeprefix("answer: ")
    if text.startswith(r"\boxed{"):
        text = text[len(r"\boxed{") : -1]
    found = _PLAIN.fullmatch(text.strip())
    if found is None:
        return None
    return Fraction(found["sign"] + found["whole"].replace(",", "") + (found["part"] or ""))


def _installed() -> bool:
    try:
        return importlib.util.find_spec("math_verify") is not None
    except (ImportError, ValueError):
        return False


register_feature(
    Feature(
        name="math_match",
        long_name="math_match",
        compute=math_match,
        required_columns=frozenset({"reference"}),
        uses_stop_strings=True,
    )
)
