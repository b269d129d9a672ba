"""Words, n-grams, sentences and stop trimming."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxygold.errors import RewardError
from proxygold.text import GENERIC_STOP_STRINGS, ngrams, sentences, split_words, trim_at_stop, unicode_words, words


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Segmented by hand; one word of each clause is enough to see that it is not one.
        ("我喜欢读书。", ["我", "喜欢", "读书", "。"]),
        ("東京に行きます。", ["東京", "に", "行き", "ます", "。"]),
        ("ฉันชอบกินข้าว", ["ฉัน", "ชอบ", "กิน", "ข้าว"]),
        ("한국어를 공부합니다", ["한국어를", "공부합니다"]),
        ("It's 4.5, no?", ["It's", "4.5", ",", "no", "?"]),
        ("hi🎉👨‍👩‍👧", ["hi", "🎉", "👨‍👩‍👧"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("a\u200bb", ["a", "b"]),
        ("", []),
        ("a \ud800 b", ["a", "\ufffd", "b"]),
    ],
)
def test_unicode_words(text: str, expected: list[str]) -> None:
    assert unicode_words(text) == expected == split_words(text, "unicode")


def test_a_line_break_parts_words_without_spaces() -> None:
    assert unicode_words("中国\n人民") == ["中国", "人民"]


def test_unicode_words_name_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    with pytest.raises(RewardError, match=r"words='unicode' needs icu4py.*pip install 'proxygold\[features\]'"):
        unicode_words("a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("one", ["one"]),
        ("🎉 ... 🎉", []),
        ("Yes. No! Why? Wait…", ["Yes.", "No!", "Why?", "Wait…"]),
        # decimals, addresses, versions: no white space follows
        ("It is 4.5 km to a.b.com. Go.", ["It is 4.5 km to a.b.com.", "Go."]),
        # what goes on with a small letter goes on
        ('Well... maybe. "Go!" he said.', ["Well... maybe.", '"Go!" he said.']),
        # closing quotes and brackets belong to the sentence
        ('He said "Go." Then (he left.) Yes.', ['He said "Go."', "Then (he left.)", "Yes."]),
        ("**Bold.** Next.", ["**Bold.**", "Next."]),
        # abbreviations and initials
        ("Dr. Low met J. R. Smith, e.g. Bob. See Fig. 3.", ["Dr. Low met J. R. Smith, e.g. Bob.", "See Fig. 3."]),
        ("It was 5 p.m. We left at 6 p.m. 3 stayed.", ["It was 5 p.m.", "We left at 6 p.m. 3 stayed."]),
        ("I said no. See no. 4.", ["I said no.", "See no. 4."]),
        ("That is I. You too.", ["That is I.", "You too."]),
        # lists, headings, rules
        ("# Plan\n\n1. Mix it. Now.\n2. Bake\n---\n- Eat", ["# Plan", "1. Mix it.", "Now.", "2. Bake", "- Eat"]),
        ("a\r\nb\u2028c", ["a", "b", "c"]),
        # other scripts
        ("行きます。はい！「え？」と。", ["行きます。", "はい！", "「え？」", "と。"]),
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
        ("كيف حالك؟ بخير.", ["كيف حالك؟", "بخير."]),
        ("?!?! What?!", ["What?!"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet="aB1 .!?…。\n\"')", max_size=60))
def test_sentences_lose_nothing_but_what_says_nothing(text: str) -> None:
    assert "".join(filter(str.isalnum, "".join(sentences(text)))) == "".join(filter(str.isalnum, text))
