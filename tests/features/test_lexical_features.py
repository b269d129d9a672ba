"""LI and RP against counts made by hand."""

import logging
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxygold import reward
from proxygold.features import FeatureContext, context, length_incentive, repetition_penalty
from proxygold.records import Example
from proxygold.templates import get_template

LI = length_incentive.length_incentive
RP = repetition_penalty.repetition_penalty


def one(feature, completion: str, context: FeatureContext | None = None, **arguments: object) -> float:
    values = feature([Example("q", completion)], context or FeatureContext(), **arguments).values
    assert values.shape == (1,)
    return float(values[0])


@pytest.mark.parametrize(
    ("completion", "count"),
    [
        ("It's 4.5, no?", 9),  # It ' s 4 . 5 , no ?
        ("", 0),
        (" \n ", 0),
        ("one two\n\n\n\nthree", 2),  # cut at four newlines
        ("one\n\n--\ntwo", 1),
        ("one\n\n____ two", 1),
        (". . .", 3),
        ("...", 1),
    ],
)
def test_li_counts_words_and_runs_of_punctuation(completion: str, count: int) -> None:
    assert one(LI, completion) == count / 100


def test_li_can_count_what_white_space_separates() -> None:
    assert one(LI, "It's 4.5, no?\n\n\n\ncut", words="whitespace") == 3 / 100


def test_li_stops_at_the_role_markers_of_a_template() -> None:
    context = FeatureContext(get_template("vicuna").stop_strings)
    assert one(LI, "Yes. USER: why?", context) == 2 / 100
    assert one(LI, "Yes. USER: why?") == 6 / 100


@pytest.mark.parametrize(
    ("completion", "n", "expected"),
    [
        # trigrams: abc bca cab abc: 3 of 4
        ("a b c a b c", 3, 3 / 4),
        # aaa five times: 1 of 5
        ("a a a a a a a", 3, 1 / 5),
        ("a b c", 3, 1.0),
        # none at all
        ("a b", 3, 1.0),
        ("", 3, 1.0),
        # unigrams a, b: 2 of 4; bigrams ab ba ab: 2 of 3
        ("a b a b", 1, 2 / 4),
        ("a b a b", 2, 2 / 3),
        # case counts
        ("A a A a A", 3, 2 / 3),
        # what stands behind a stop string is not counted
        ("a b c d\n\n\n\na b c d a b c d", 3, 1.0),
    ],
)
def test_rp_is_the_share_of_distinct_ngrams(completion: str, n: int, expected: float) -> None:
    assert one(RP, completion, n=n) == expected


@settings(deadline=None)  # the first batch of a process builds its tables
@given(st.lists(st.text(alphabet="ab .,\n-", max_size=30), max_size=5))
def test_batches_agree_with_a_plain_transcription(completions: list[str]) -> None:
    examples = [Example("q", completion) for completion in completions]
    context = FeatureContext()
    lengths, repetition = LI(examples, context).values, RP(examples, context).values
    for row, text in enumerate(completions):
        for stop in ("\n\n\n\n", "\n\n--", "\n\n____"):
            text = text.split(stop)[0]
        found = re.findall(r"\w+|[^\w\s]+", text.strip())
        assert lengths[row] == len(found) / 100
        grams = [tuple(found[i : i + 3]) for i in range(len(found) - 2)]
        assert repetition[row] == (len(set(grams)) / len(grams) if grams else 1.0)


CHINESE = "我今天早上去图书馆借了三本关于历史的书。"


def test_unicode_words_make_sense_of_a_script_without_spaces() -> None:
    # wordpunct sees one word and a full stop. ICU: 我 今天 早上 去 图书 馆 借了 三本 关于 历史 的 书 。
    assert one(LI, CHINESE) == 2 / 100
    assert one(LI, CHINESE, words="unicode") == 13 / 100
    # Said twice: 26 words, 24 trigrams; the 13 that begin in the first are new, the other 11 are the first 11 of these.
    assert one(RP, CHINESE * 2, words="unicode") == 13 / 24
    # Four "words" for wordpunct, of which two trigrams are different.
    assert one(RP, CHINESE * 2) == 1.0


def test_li_and_rp_without_spaces_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    context._warn_of_unspaced.cache_clear()
    with caplog.at_level(logging.WARNING):
        reward('LI(words="unicode") * RP(words="unicode")').score([Example("q", CHINESE)])
        reward("LI * RP").score([Example("q", "English, with a name: 东京.")])
        assert not caplog.records
        for _ in range(3):
            reward("LI * RP").score([Example("q", "fine"), Example("q", CHINESE)])
    assert len(caplog.records) == 1
    assert 'words="unicode"' in caplog.text


def test_the_kind_of_words_is_part_of_the_line() -> None:
    assert str(reward("LI(words='unicode') * RP(words='wordpunct', n=3)")) == "LI(words='unicode') * RP"
    assert reward("RP(words='unicode')").reward_id != reward("RP").reward_id
