"""Words, n-grams and stop trimming."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxygold.text import GENERIC_STOP_STRINGS, ngrams, trim_at_stop, words


def test_words_are_runs_of_letters_and_runs_of_punctuation() -> None:
    assert words("Wait... it's 3.5%!") == ["Wait", "...", "it", "'", "s", "3", ".", "5", "%!"]
    assert words("naïve 東京_2") == ["naïve", "東京_2"]
    assert words(" \n\t ") == []


def test_ngrams_of_a_short_text_are_none() -> None:
    assert list(ngrams(["a", "b"], 3)) == []
    assert list(ngrams(["a", "b", "c", "d"], 3)) == [("a", "b", "c"), ("b", "c", "d")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris.\n\n\n\nNext", "Paris."),
        ("Paris.\n\n--\nBob", "Paris."),
        ("Paris.\n\n____\nName", "Paris."),
        # Three newlines are no stop, and neither is a rule of three underscores.
        ("Paris.\n\n\nRome", "Paris.\n\n\nRome"),
        ("Paris.\n\n___", "Paris.\n\n___"),
        # The first stop in the text counts, whichever it is in the list.
        ("a\n\n____ b\n\n\n\nc", "a"),
        ("\n\n\n\nall gone", ""),
        ("  spaces  ", "spaces"),
    ],
)
def test_trimming_at_the_generic_stops(text: str, expected: str) -> None:
    assert trim_at_stop(text, GENERIC_STOP_STRINGS) == expected


def test_without_stop_strings_only_white_space_goes() -> None:
    assert trim_at_stop(" a\n\n\n\nb ", ()) == "a\n\n\n\nb"


@given(st.text(alphabet="ab-_\n ", max_size=40))
def test_what_is_left_has_no_stop_and_is_a_part_of_the_text(text: str) -> None:
    left = trim_at_stop(text, GENERIC_STOP_STRINGS)
    assert left in text
    assert not any(stop in left for stop in GENERIC_STOP_STRINGS)
