"""Where a final answer is found, and when two of them are the same: exact_match and math_match."""

import gzip
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from proxygold import reward
from proxygold.errors import RewardError
from proxygold.features import FeatureContext
from proxygold.features.exact_match import exact_match, normalize_answer
from proxygold.features.final_answer import final_answer
from proxygold.features.math_match import math_match
from proxygold.records import Example

GSM8K = Path(__file__).parents[2] / "../shared/data/preferences/gsm8k_solution_pairs.jsonl.gz"


def one(feature, completion: str, reference: str, **arguments: object) -> float:
    return float(feature([Example("?", completion, reference=reference)], FeatureContext(), **arguments).values[0])


@pytest.mark.parametrize(
    ("text", "answer", "kind"),
    [
        (r"The answer is 4. So \boxed{5}, and not 6.", "5", "boxed"),
        (r"\boxed{1} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}", "boxed"),
        ("\\boxed{3 and no more\nA: 4", "3 and no more", "boxed"),
        ("2 + 2 = 4\n#### 4", "4", "marked"),
        ("The answer is 3. No, the answer is 4.", "4.", "marked"),
        ("**Final Answer:** 12 apples\nThank you.", "12 apples", "marked"),
        ("Step.\nA: 18", "18", "marked"),
        ("The answer is:\n\n$$\n\\frac{3}{4}\n$$\nas shown", "$$\n\\frac{3}{4}\n$$", "marked"),
        ("There is an answer, and a: 5", "There is an answer, and a: 5", "whole"),
        ("", "", "whole"),
        ("#### ", "", "marked"),
    ],
)
def test_where_the_final_answer_is(text: str, answer: str, kind: str) -> None:
    assert final_answer(text) == (answer, kind)


def test_finding_the_answer_takes_time_in_proportion_to_the_text() -> None:
    n = 200_000
    start = time.process_time()
    for text in (" " * n, "\n" * n, "answer " * n, "\\boxed{" * n, "*" * n, "answer" + " " * n, "{" * n, "A" * n):
        final_answer(text)
        normalize_answer(text)
    # Some 2 seconds. A search that is quadratic in any of these would take an hour.
    assert time.process_time() - start < 60


@pytest.mark.parametrize(
    ("completion", "reference", "value"),
    [
        ("So the answer is the Nile.", "Nile", 1),
        ("The answer is 18. She sells nine eggs.", "18", 1),
        ("The answer is $1,234.", "Total: #### 1234", 1),
        ("Nile", "The Nile", 1),
        ("It is the Nile.", "Nile", 0),
        (r"\boxed{\text{New York}}", "new york", 1),
        ("The answer is B. Because of the rain.", "B", 1),
        ("(B) the Nile", "B", 1),
        ("**A**", "A", 1),
        ("A cat", "A", 0),
        ("5.0", "5", 0),
        ("−5", "-5", 1),  # a typographer's minus
        ("5", "-5", 0),
        ("", "Nile", 0),
        ("the", "Nile", 0),
        ("Nile\n\n\n\nQ: Which river? The answer is the Rhine.", "Nile", 1),  # cut at the stop string
    ],
)
def test_exact_match(completion: str, reference: str, value: float) -> None:
    assert one(exact_match, completion, reference) == value


def test_exact_match_of_whole_texts() -> None:
    assert one(exact_match, "So the answer is: Nile", "Nile", find="whole") == 0
    assert one(exact_match, "The  NILE!", "Nile", find="whole") == 1


def test_a_reference_of_signs_alone_is_none() -> None:
    result = exact_match([Example("?", "...", reference="...")], FeatureContext())
    assert np.isnan(result.values[0])
    assert "nothing is left of the reference" in result.reasons[0]


@pytest.mark.parametrize(
    ("completion", "reference", "value"),
    [
        ("9 * 2 = 18, so she makes $18 every day.", "#### 18", 1),
        ("The answer is 18 clips in 2 months.", "18", 1),
        ("I get 17.", "18", 0),
        (r"\boxed{\frac{2}{4}}", "0.5", 1),
        ("50%", "0.5", 1),
        ("0.333333", "1/3", 1),
        ("0.33", "1/3", 0),
        (r"So $x = \sqrt{8}$.", r"$2\sqrt{2}$", 1),
        (r"\boxed{1 + x}", r"\boxed{x + 1}", 1),
        ("1,234", "1234.0", 1),
        ("-3", "3", 0),
        ("I do not know.", "18", 0),
        ("", "18", 0),
        ("18\n\n\n\nQ: 7 + 7? 14", "18", 1),  # cut at the stop string
        ("The answer is 17. Wait, the answer is **18**.", "18", 1),
        ("word " * 400 + "it is 18", "18", 1),
    ],
)
def test_math_match(completion: str, reference: str, value: float) -> None:
    assert one(math_match, completion, reference) == value


def test_a_reference_without_mathematics_gives_no_value() -> None:
    examples = [Example("?", "18", reference="Paris"), Example("?", "18"), Example("?", "18", reference="18")]
    result = math_match(examples, FeatureContext())
    np.testing.assert_array_equal(result.values, [np.nan, np.nan, 1])
    assert result.reasons == (
        "math_match: the reference has no number and no formula that math-verify can read",
        "math_match: the example has no reference",
        None,
    )


NUMBERS = st.one_of(
    st.integers(-2000, 2000).map(str),
    st.integers(0, 10**9).map("{:,}".format),
    st.decimals(-100, 100, places=2).map(str),
    st.integers(0, 99).map("${}.00".format),
)


@settings(deadline=None, max_examples=60)
@given(reference=NUMBERS, answer=NUMBERS)
def test_plain_numbers_are_compared_as_math_verify_does(reference: str, answer: str) -> None:
    assert one(math_match, f"answer: {answer}", reference) == verify(parse(reference), parse(f"answer: {answer}"))
    assert one(math_match, f"#### {reference}", reference) == 1


@pytest.mark.skipif(not GSM8K.is_file(), reason="the real data sets are not at ../shared/data")
def test_right_and_wrong_solutions_of_gsm8k_are_told_apart() -> None:
    with gzip.open(GSM8K, "rt") as file:
        rows = [json.loads(line) for line in file][::10]
    for column, value in (("chosen", 1), ("rejected", 0)):
        examples = [Example(row["prompt"], row[column], reference=row["reference"]) for row in rows]
        assert np.mean(math_match(examples, FeatureContext()).values == value) > 0.99, column
        assert np.mean(exact_match(examples, FeatureContext()).values == value) > 0.95, column


def test_a_branch_of_the_two_kinds() -> None:
    scored = reward("branch(open_ended=LI * RP, closed_ended=math_match - 0.1 * exact_match)").score(
        [
            Example("?", "one two three", query_type="open_ended"),
            Example("?", "A: 1/2", reference="0.5", query_type="closed_ended"),
            Example("?", "A: 0.5", reference="0.5", query_type="closed_ended"),
        ]
    )
    assert scored.total == pytest.approx([0.03, 1, 0.9])


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(RewardError, match=re.escape("math_match needs math_verify, which is not installed. Run: pip")):
        reward("math_match").score([Example("?", "1", reference="1")])


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(RewardError, match="must be 'final' or 'whole'"):
        reward("exact_match(find='first')")
    with pytest.raises(RewardError, match="math_match has no argument 'find'"):
        reward("math_match(find='final')")
