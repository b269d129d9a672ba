"""Words as numbers, against `re` and sets of tuples."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxygold.features import word_batch
from proxygold.features.word_batch import WordBatch
from proxygold.text import split_words


@pytest.fixture(autouse=True)
def few_characters_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little text is split into lists; these tests are of the other way."""
    monkeypatch.setattr(word_batch, "_LITTLE", -1)


def plain_words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", text)


def plain_distinct(text: str, n: int) -> int:
    found = plain_words(text)
    return len({tuple(found[start : start + n]) for start in range(len(found) - n + 1)})


def assert_equal_to_plain(texts: list[str], sizes: tuple[int, ...] = (1, 2, 3, 7)) -> None:
    batch = WordBatch(texts)
    assert batch.counts.tolist() == [len(plain_words(text)) for text in texts]
    for n in sizes:
        assert batch.distinct_ngrams(n).tolist() == [plain_distinct(text, n) for text in texts]


def test_every_character_is_what_re_takes_it_for() -> None:
    # Between a letter and punctuation: word, punctuation or space show in the number of words.
    every = [chr(point) for point in range(0x110000)]
    texts = ["".join(f"a{c}." for c in every[start : start + 64]) for start in range(0, len(every), 64)]
    assert WordBatch(texts).counts.tolist() == [len(plain_words(text)) for text in texts]


# Letters, punctuation and spaces of one to four bytes, separators that are white space to Python alone, a combining
# mark, half of a surrogate pair.
ALPHABET = "aab .,_1\n\x1c\x85é½ß’…—​ 　中文กี٣😀🎉\u0301\ud83d"


# The first batch of a process builds its tables. The fixture is the same for all examples.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet=ALPHABET, max_size=40), max_size=6))
def test_batches_of_any_text_are_counted_as_by_sets_of_tuples(texts: list[str]) -> None:
    assert_equal_to_plain(texts)


@pytest.mark.parametrize("texts", [[], [""], ["", ""], [" \n "], ["a", "", "b"], ["a b c d"] * 3, ["x" * 1000], ["."]])
def test_little_or_nothing(texts: list[str]) -> None:
    assert_equal_to_plain(texts, sizes=(1, 2, 3, 100))


def test_groups_and_texts_do_not_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a b a b", "a b", "a b a b a", "", "b a b a"] * 3
    monkeypatch.setattr(word_batch, "_GROUP", 9)
    assert_equal_to_plain(texts)


def test_keys_that_would_not_fit_are_numbered_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), 60)) for _ in range(5)]
    # 8 words, 5 rows: 8 ** 3 * 5 fits 3,000; longer n-grams do not.
    monkeypatch.setattr(word_batch, "_LARGEST", 3_000)
    assert_equal_to_plain(texts, sizes=(1, 2, 3, 4, 5, 30))


def test_long_ngrams_of_many_words_are_exact() -> None:
    # 4,000 different words: 12 bits a word, so that 100 of them can never be one number.
    words = [f"w{number}" for number in range(4000)]
    texts = [" ".join(words), " ".join(words[:150] * 2), " ".join(words[:100])]
    assert_equal_to_plain(texts, sizes=(5, 6, 100))


def test_little_text_is_split_into_lists_with_equal_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a b a b!", "", "é 中文 a"]
    many = WordBatch(texts)
    monkeypatch.setattr(word_batch, "_LITTLE", 100)
    monkeypatch.setattr(word_batch, "_Wordpunct", None)
    little = WordBatch(texts)
    assert little.counts.tolist() == many.counts.tolist()
    assert little.distinct_ngrams(2).tolist() == many.distinct_ngrams(2).tolist()
    assert_equal_to_plain(texts)


@pytest.mark.parametrize("kind", ["whitespace", "unicode"])
def test_other_kinds_of_words(kind: str) -> None:
    texts = ["It's 4.5, no? It's 4.5, no!", "", "我喜欢读书。我喜欢读书。"]
    batch = WordBatch(texts, kind)
    lists = [split_words(text, kind) for text in texts]
    assert batch.counts.tolist() == [len(words) for words in lists]
    expected = [len({tuple(words[k : k + 2]) for k in range(len(words) - 1)}) for words in lists]
    assert batch.distinct_ngrams(2).tolist() == expected


@pytest.mark.parametrize("little", [-1, 1000])
@pytest.mark.parametrize(
    ("text", "unspaced"),
    [
        ("我今天早上去图书馆借了三本关于历史的书。", True),
        ("ฉันชอบกินข้าวผัดกุ้งมากที่สุด", True),
        # Names within another language, however many.
        (
            "Beijing (北京) and Tokyo (東京都) and Nagoya (名古屋) and Kyoto (京都) and Osaka (大阪) and Kobe (神戸)",
            False,
        ),
        ("Виктор живёт в Москве, и это правда.", False),
        ("plain", False),
    ],
)
def test_clauses_without_spaces_are_noticed(
    text: str, unspaced: bool, little: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_batch, "_LITTLE", little)
    assert WordBatch(["fine", text]).unspaced is unspaced
